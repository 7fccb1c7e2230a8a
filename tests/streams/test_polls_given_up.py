"""A poll that nobody waits for any more takes nothing, and no answer to one is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hivebus.errors import HivebusError
from hivebus.transport import Ack, Delivery
from hivebus_redis.connection import Server
from hivebus_redis.long_poll import LongPoll
from hivebus_redis.reader import StreamReader

from .own_server import OwnServer
from .proxy import Proxy
from .room import Room, asleep, ids, outgoing, publish, settle, take, until
from .sleepers import SHORT, Begun, bounded, idle, sleeping

LEASE = 1.0
MANY = 20
Change = Callable[..., None]
TELLS = "redis.call('HSET', k.consumers, given_up(args[2]), args[3])"
"""How the server keeps the number of the last poll that was given up."""


# --- Who gives one up ---------------------------------------------------------------------------------------------


async def woken(opened: StreamReader, receiving: asyncio.Task[list[Delivery]]) -> None:
    opened.wake()
    assert await bounded(receiving) == []


async def cancelled(opened: StreamReader, receiving: asyncio.Task[list[Delivery]]) -> None:
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bounded(receiving)


GivesUp = Callable[[StreamReader, "asyncio.Task[list[Delivery]]"], Any]


@pytest.mark.parametrize("gives_up", [woken, cancelled])
async def test_who_gives_it_up_finds_what_comes_later(room: Room, begun: Begun, gives_up: GivesUp) -> None:
    opened = await idle(room)
    await gives_up(opened, await sleeping(room, opened))
    await publish(await room.transport(), outgoing("m-1"))

    (found,) = await take(opened)

    assert ids([found]) == ["m-1"] and (found.failures, found.crashes, len(begun.words)) == (0, 0, 1)
    assert await settle(opened, Ack(found.token)) == "done"


async def cut_off(room: Room, proxy: Proxy, gives_up: GivesUp) -> StreamReader:
    """Give up a long poll of which the server does not hear that, and publish when its reader knows what it holds."""
    opened = await idle(room, proxy.url)
    receiving = await sleeping(room, opened)
    proxy.hide_hang_ups()
    await gives_up(opened, receiving)
    assert await opened.receive(limit=1, start=1, wait=0) == []
    assert int(room.redis.info("clients")["blocked_clients"]) == 1
    await publish(await room.transport(), outgoing("m-1"))
    return opened


@pytest.mark.parametrize("gives_up", [woken, cancelled])
async def test_a_poll_that_was_given_up_takes_nothing(redis_room: Room, proxy: Proxy, gives_up: GivesUp) -> None:
    opened = await cut_off(redis_room, proxy, gives_up)

    assert ids(await take(opened)) == ["m-1"]


async def test_saboteur_who_does_not_tell_that_loses_sight_of_it(
    redis_room: Room, proxy: Proxy, change_library: Change
) -> None:
    change_library((TELLS, ""))
    opened = await cut_off(redis_room, proxy, woken)

    assert await take(opened, wait=SHORT) == []


async def overtaken(room: Room, proxy: Proxy, opened: StreamReader, function: str) -> StreamReader:
    """Give up a poll that its line keeps; let that go when its reader knows what it holds, and a message waits."""
    proxy.hold_calls_of(function)
    receiving = asyncio.ensure_future(opened.receive(limit=MANY, start=MANY, wait=0))
    await asyncio.sleep(SHORT)
    await cancelled(opened, receiving)
    opened._receiving.drop()
    proxy.hold_no_more()
    assert await opened.receive(limit=MANY, start=MANY, wait=0) == []
    await publish(await room.transport(), outgoing("m-1"))
    calls = room.calls("fcall")
    proxy.let_go()
    await until(lambda: room.calls("fcall") > calls)
    return opened


async def used_to_many(room: Room, url: str) -> StreamReader:
    """Return a reader that has just been handed many messages."""
    opened = await idle(room, url)
    await publish(await room.transport(), *(outgoing(f"old-{n}") for n in range(MANY)))
    assert len(await opened.receive(limit=MANY, start=MANY, wait=0)) == MANY
    assert opened._bulk.is_worth_it
    return opened


async def test_an_ordinary_poll_that_was_given_up_takes_nothing(redis_room: Room, proxy: Proxy) -> None:
    opened = await idle(redis_room, proxy.url)

    assert ids(await take(await overtaken(redis_room, proxy, opened, "receive"))) == ["m-1"]


async def test_saboteur_an_ordinary_poll_that_nobody_tells_of_takes_what_nobody_sees(
    redis_room: Room, proxy: Proxy, change_library: Change
) -> None:
    change_library((TELLS, ""))
    opened = await idle(redis_room, proxy.url)

    assert await take(await overtaken(redis_room, proxy, opened, "receive"), wait=SHORT) == []


async def test_a_poll_for_many_that_was_given_up_takes_nothing(redis_room: Room, proxy: Proxy) -> None:
    opened = await used_to_many(redis_room, proxy.url)

    assert ids(await take(await overtaken(redis_room, proxy, opened, "prepare"))) == ["m-1"]


async def test_saboteur_a_poll_for_many_without_a_number_takes_what_nobody_sees(
    redis_room: Room, proxy: Proxy, change_library: Change
) -> None:
    change_library(("local may = not is_late and", "local may = kept and"))
    opened = await used_to_many(redis_room, proxy.url)

    assert await take(await overtaken(redis_room, proxy, opened, "prepare"), wait=SHORT) == []


async def registered_when_it_is_gone(room: Room, proxy: Proxy) -> int:
    """Close a reader whose server does not hear that it hung up; return how many are registered then."""
    opened = await idle(room, proxy.url)
    receiving = await sleeping(room, opened)
    proxy.hide_hang_ups()
    await opened.close()
    assert await bounded(receiving) == []
    await until(lambda: int(room.redis.info("clients")["blocked_clients"]) == 0)
    return int(room.redis.zcard(room.key("lease")))


async def test_a_poll_of_who_is_gone_registers_nobody(redis_room: Room, proxy: Proxy) -> None:
    assert await registered_when_it_is_gone(redis_room, proxy) == 0


async def test_saboteur_a_poll_of_who_is_gone_makes_believe_that_somebody_reads(
    redis_room: Room, proxy: Proxy, change_library: Change
) -> None:
    change_library(("return kept[1], not kept[1] or tonumber", "return kept[1], tonumber"))

    assert await registered_when_it_is_gone(redis_room, proxy) == 1


# --- No answer is lost ----------------------------------------------------------------------------------------


async def test_who_is_woken_behind_an_answer_returns_what_it_brings(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    receiving = await sleeping(redis_room, opened)
    begun.behind = opened.wake

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"] and len(begun.words) == 1


async def cancelled_behind_it(room: Room, begun: Begun) -> StreamReader:
    """Cancel whoever receives in the turn of the loop in which the answer has come."""
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    begun.behind = receiving.cancel
    await publish(await room.transport(), outgoing("m-1"))
    with pytest.raises(asyncio.CancelledError):
        await bounded(receiving)
    assert len(begun.words) == 1
    begun.behind = None
    return opened


async def test_who_is_cancelled_behind_an_answer_finds_what_it_brought(redis_room: Room, begun: Begun) -> None:
    opened = await cancelled_behind_it(redis_room, begun)
    wire = opened._receiving.wire

    (found,) = await take(opened)

    assert ids([found]) == ["m-1"] and (found.failures, found.crashes) == (0, 0)
    assert await settle(opened, Ack(found.token)) == "done"
    assert opened._receiving.wire is wire, "the connection is whole"


async def test_saboteur_who_forgets_what_it_has_begun_never_sees_that_message(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up = LongPoll.give_up
    monkeypatch.setattr(LongPoll, "give_up", lambda self: give_up(self) and False)
    opened = await cancelled_behind_it(redis_room, begun)

    assert await take(opened, wait=SHORT) == []


async def closed_before_it_is_told(room: Room, begun: Begun) -> list[Delivery]:
    """Close a reader to whom an answer has come; return what comes to another one."""
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    closing: list[asyncio.Future[None]] = []
    begun.before = lambda: closing.append(asyncio.ensure_future(opened.close()))
    await publish(await room.transport(), outgoing("m-1"))
    assert await bounded(receiving) == []
    begun.before = None
    await bounded(closing[0])
    return await take(await room.reader(await room.transport(), consumer="heir"), wait=SHORT)


async def test_who_is_closed_hands_back_what_an_answer_brought(redis_room: Room, begun: Begun) -> None:
    (found,) = await closed_before_it_is_told(redis_room, begun)

    assert (found.failures, found.crashes, found.alone) == (0, 0, False)


async def test_saboteur_who_does_not_ask_what_it_was_given_keeps_it_for_a_lease(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(self: StreamReader) -> None:
        """Close as if nothing had been asked."""

    monkeypatch.setattr(StreamReader, "_resynchronise", forget)

    assert await closed_before_it_is_told(redis_room, begun) == []


async def test_messages_in_a_lost_answer_are_found_again(redis_room: Room, proxy: Proxy, begun: Begun) -> None:
    opened = await idle(redis_room, proxy.url)
    proxy.lose_answers_to("receive")
    receiving = await sleeping(redis_room, opened)
    await publish(await redis_room.transport(), outgoing("m-1"))

    (found,) = await bounded(receiving)

    assert proxy.lost == 1 and ids([found]) == ["m-1"] and (found.failures, found.crashes) == (0, 0)


async def test_functions_that_are_gone_are_loaded_again(own_room: Room, begun: Begun) -> None:
    opened = await idle(own_room)
    receiving = await sleeping(own_room, opened)
    own_room.redis.function_flush()
    own_room.redis.xadd(own_room.key("bell"), {"b": ""})
    await until(lambda: len(begun.words) == 2)
    await publish(await own_room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"]


async def test_a_silent_server_holds_nobody_who_is_woken_and_loses_nothing(
    own_server: OwnServer, own_room: Room, begun: Begun
) -> None:
    sender, opened = await own_room.transport(), await idle(own_room)
    receiving = await sleeping(own_room, opened)
    own_server.pause()
    publishing = asyncio.ensure_future(publish(sender, outgoing("m-1")))
    await asyncio.sleep(0)
    opened.wake()
    async with asyncio.timeout(LEASE):
        assert await receiving == []
    own_server.resume()
    assert await publishing == ["stored"]

    (found,) = await take(opened)
    assert ids([found]) == ["m-1"] and (found.failures, found.crashes, found.alone) == (0, 0, False)
    assert await settle(opened, Ack(found.token)) == "done"


async def test_a_server_that_stays_silent_holds_nobody_for_longer_than_an_answer_may_take(
    own_server: OwnServer, own_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server.channel, "__kwdefaults__", {"reply_timeout": LEASE})
    opened = await idle(own_room)
    receiving = asyncio.ensure_future(opened.receive(limit=1, start=1, wait=LEASE))
    await asleep(own_room)
    own_server.pause()
    with pytest.raises(HivebusError):
        await bounded(receiving)
    own_server.resume()
