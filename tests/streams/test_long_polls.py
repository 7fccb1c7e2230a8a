"""Who sleeps polls long: it asks for what `receive` wants, one trip brings that, and no answer to it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import HivebusError
from hivebus.transport import Ack, Delivery, Inbox, Start
from hivebus_redis import bell, continuity
from hivebus_redis.bulk import Bulk
from hivebus_redis.connection import Server
from hivebus_redis.drill.ledger import Book, read
from hivebus_redis.drill.watched import Watch, WatchedReader
from hivebus_redis.long_poll import LongPoll
from hivebus_redis.polls import Answer, Polls
from hivebus_redis.reader import StreamReader
from hivebus_redis.wire import Wire

from .own_server import OwnServer
from .proxy import Proxy
from .room import INBOX, LONG, PATIENCE, Room, asleep, ids, outgoing, publish, settle, take, until

LEASE = 1.0
SHORT = 0.3
MANY = 20
Act = Callable[[], object]
Change = Callable[..., None]


class Begun:
    """The long polls that were begun while a test ran.

    Attributes:
        words: limit, start and how many run, of each.
        before, behind: done when an answer has come, before whoever waits for it is told and after that, in the same
            turn of the loop.
    """

    def __init__(self) -> None:
        self.words: list[tuple[int, int, int]] = []
        self.before: Act | None = None
        self.behind: Act | None = None

    def rings(self, ring: Act) -> None:
        """Tell whoever waits."""
        for act in (self.before, ring, self.behind):
            if act is not None:
                act()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Keep book of them."""
    kept, begin, rings = Begun(), Polls.begin, {}

    def noted(self: Polls, ids: Sequence[bytes], *, seconds: float, limit: int, start: int, running: int) -> bool:
        ring = rings.setdefault(self._long, self._long._rings)
        self._long._rings = lambda: kept.rings(ring)
        kept.words.append((limit, start, running))
        return begin(self, ids, seconds=seconds, limit=limit, start=start, running=running)

    monkeypatch.setattr(Polls, "begin", noted)
    # Looked at once, in `idle`.
    monkeypatch.setattr(continuity, "EVERY", 1e6)
    return kept


async def idle(room: Room, url: str | None = None, *, lease: float = LONG, consumer: str = "one") -> StreamReader:
    """Return a reader that has looked at its empty inbox once."""
    opened = await room.reader(await room.transport(url), lease=lease, consumer=consumer)
    assert await opened.receive(limit=1, start=1, wait=0) == []
    return opened


async def sleeping(room: Room, opened: StreamReader, *, limit: int = 5, start: int = 5) -> asyncio.Task[list[Delivery]]:
    """Let it wait in `receive`."""
    receiving = asyncio.ensure_future(opened.receive(limit=limit, start=start, wait=PATIENCE))
    await asleep(room)
    return receiving


async def bounded(receiving: asyncio.Future[Any]) -> Any:
    """Return what comes of it, which must not take long."""
    async with asyncio.timeout(PATIENCE):
        return await receiving


# --- What is begun ------------------------------------------------------------------------------------------


async def test_who_sleeps_asks_for_what_the_present_call_wants(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    sender = await room.transport()
    await publish(sender, *(outgoing(f"old-{n}") for n in range(2)))
    running = await take(opened, 2)
    receiving = await sleeping(room, opened, limit=3, start=1)

    await publish(sender, *(outgoing(f"m-{n}") for n in range(4)))

    got = await bounded(receiving)
    assert ids(got) == ["m-0", "m-1", "m-2"] and begun.words[-1] == (3, 1, len(running))
    assert {each.token for each in running} < opened._started and len(opened._started) == len(running) + 1


async def commands_after_publishing(room: Room, monkeypatch: pytest.MonkeyPatch) -> int:
    """Publish for a reader that sleeps; return how many commands that one sends before it has the message."""
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    sent = 0
    send = Wire._send

    def counted(self: Wire, packed: bytes, count: int, *words: Any, **options: Any) -> Any:
        nonlocal sent
        sent += count * (self is opened._receiving.wire)
        return send(self, packed, count, *words, **options)

    monkeypatch.setattr(Wire, "_send", counted)
    await publish(await room.transport(), outgoing("m-1"))
    assert ids(await bounded(receiving)) == ["m-1"]
    return sent


async def test_what_comes_is_brought_without_another_question(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await commands_after_publishing(room, monkeypatch) == 0


async def test_saboteur_who_listens_first_asks_when_it_has_heard(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamReader, "_begin_long_poll", lambda self, *words: False)

    assert await commands_after_publishing(room, monkeypatch) == 1


async def test_many_messages_come_one_by_one_each_once(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    sender, taken = await redis_room.transport(), []
    for number in range(50):
        receiving = asyncio.ensure_future(opened.receive(limit=5, start=5, wait=PATIENCE))
        await asyncio.sleep(0.002)
        await publish(sender, outgoing(f"m-{number}"))
        got = await bounded(receiving)
        taken += ids(got)
        assert await opened.settle([Ack(each.token) for each in got]) == ["done"] * len(got)

    assert taken == [f"m-{number}" for number in range(50)] and begun.words


async def test_who_has_waited_for_nothing_keeps_its_connection(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    wire = opened._receiving.wire
    began = time.monotonic()
    assert await opened.receive(limit=5, start=5, wait=SHORT) == []
    assert SHORT <= time.monotonic() - began < PATIENCE / 2

    receiving = await sleeping(room, opened)
    await publish(await room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"]
    assert begun.words == [(5, 5, 0)] * 2 and opened._receiving.wire is wire


async def test_a_bell_that_rings_beside_it_changes_nothing(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    wire = opened._receiving.wire
    receiving = await sleeping(room, opened)

    opened._alarm.set()
    await asyncio.sleep(SHORT)
    await publish(await room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"]
    assert len(begun.words) == 1 and opened._receiving.wire is wire


async def test_a_retry_comes_at_its_time_to_who_sleeps(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    began = time.monotonic()
    await publish(await room.transport(), outgoing("m-1", delay=SHORT))

    assert ids(await bounded(receiving)) == ["m-1"] and begun.words
    assert SHORT <= time.monotonic() - began < PATIENCE / 2


# --- When nothing is begun ------------------------------------------------------------------------------------


async def test_nothing_is_begun_where_many_messages_go_another_way(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await idle(redis_room)
    monkeypatch.setattr(Bulk, "is_worth_it", True)
    receiving = await sleeping(redis_room, opened)

    opened.wake()

    assert await bounded(receiving) == [] and begun.words == []


async def test_nothing_is_begun_for_who_only_looks(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    looking = asyncio.ensure_future(opened.glance(limit=5, wait=PATIENCE))
    await asleep(redis_room)

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert sum(await bounded(looking)) == 1 and begun.words == []


async def runs_beside_a_suspect(room: Room) -> bool:
    """Start what was fetched while its reader sleeps; tell whether a suspect message is handed to it beside that."""
    sender, opened = await room.transport(), await idle(room)
    await publish(sender, outgoing("suspect"))
    await take(await room.reader(await room.transport(), consumer="dead", lease=LEASE))
    await publish(sender, outgoing("fetched"))
    (fetched,) = await opened.receive(limit=1, start=0, wait=0)
    receiving = await sleeping(room, opened, limit=1, start=1)
    assert await settle(opened, Start(fetched.token)) == "done"
    done, _ = await asyncio.wait([receiving], timeout=LEASE * 1.5)
    opened.wake()
    await bounded(receiving)
    return bool(done)


async def test_nothing_is_begun_while_something_may_start_beside_it(redis_room: Room, begun: Begun) -> None:
    assert not await runs_beside_a_suspect(redis_room) and begun.words == []


async def test_saboteur_who_begins_all_the_same_is_handed_a_suspect_beside_what_runs(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(self: StreamReader, ids: Sequence[bytes], seconds: float, limit: int, start: int) -> bool:
        return self._polls.begin(ids, seconds=seconds, limit=limit, start=start, running=len(self._started))

    monkeypatch.setattr(StreamReader, "_begin_long_poll", begin)

    assert await runs_beside_a_suspect(redis_room)


async def test_who_may_not_listen_keeps_its_pause(own_room: Room, begun: Begun, monkeypatch: Any) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *result: Any) -> Any:
        pauses.append(seconds)
        return await sleep(seconds, *result)

    own_room.redis.acl_setuser("default", enabled=True, nopass=True, commands=["+@all", "-xread"], keys=["*"])
    opened = await idle(own_room)
    monkeypatch.setattr(bell.asyncio, "sleep", noted)
    assert await opened.receive(limit=1, start=1, wait=4 * bell.LOOK_AGAIN) == []
    await publish(await own_room.transport(), outgoing("m-1"))

    assert ids(await take(opened)) == ["m-1"] and len(begun.words) == 1
    assert bell.LOOK_AGAIN in pauses


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
    change_library(("redis.call('HSET', k.consumers, given_up(args[2]), args[3])", ""))
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
    calls = functions_called(room)
    proxy.let_go()
    await until(lambda: functions_called(room) > calls)
    return opened


async def used_to_many(room: Room, url: str) -> StreamReader:
    """Return a reader that has just been handed many messages."""
    opened = await idle(room, url)
    await publish(await room.transport(), *(outgoing(f"old-{n}") for n in range(MANY)))
    assert len(await opened.receive(limit=MANY, start=MANY, wait=0)) == MANY
    assert opened._bulk.is_worth_it
    return opened


def functions_called(room: Room) -> int:
    """Return how often the server was asked for one."""
    return int(room.redis.info("commandstats")["cmdstat_fcall"]["calls"])


async def test_an_ordinary_poll_that_was_given_up_takes_nothing(redis_room: Room, proxy: Proxy) -> None:
    opened = await idle(redis_room, proxy.url)

    assert ids(await take(await overtaken(redis_room, proxy, opened, "receive"))) == ["m-1"]


async def test_saboteur_an_ordinary_poll_that_nobody_tells_of_takes_what_nobody_sees(
    redis_room: Room, proxy: Proxy, change_library: Change
) -> None:
    change_library(("redis.call('HSET', k.consumers, given_up(args[2]), args[3])", ""))
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


# --- Its time is that at which it left ---------------------------------------------------------------------------


async def is_relied_on(room: Room, begun: Begun) -> bool:
    """Block the loop for more than a lease behind the answer; tell whether what it brought is held for certain."""
    sender, opened = await room.transport(), await idle(room, lease=LEASE)
    receiving = await sleeping(room, opened)
    begun.behind = lambda: time.sleep(LEASE * 1.1)
    await publish(sender, outgoing("m-1"))
    (found,) = await bounded(receiving)
    return opened.holds(found.token)


async def test_what_it_brings_is_held_from_when_it_left(redis_room: Room, begun: Begun) -> None:
    assert not await is_relied_on(redis_room, begun)


async def test_saboteur_who_counts_from_its_turn_is_sure_too_long(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Polls, "leaves_at", property(lambda self: time.monotonic()))

    assert await is_relied_on(redis_room, begun)


async def test_the_book_of_a_drill_has_the_time_at_which_it_left(
    redis_room: Room, begun: Begun, tmp_path: Path
) -> None:
    transport = await redis_room.transport()
    watch = Watch(Book(tmp_path, "consumer"))
    opened = WatchedReader(transport._server, transport._layout, Inbox(INBOX), consumer="one", lease=LONG)
    opened.watch = watch
    await opened.start()
    await opened.receive(limit=1, start=1, wait=0)
    receiving = await sleeping(redis_room, opened)
    slept = time.monotonic()
    await publish(await redis_room.transport(), outgoing("m-1"))
    assert ids(await bounded(receiving)) == ["m-1"]
    await opened.close()
    watch.book.close()

    (line,) = [each for each in read(tmp_path) if each.kind == "P"]
    assert float(line.words[1]) <= slept <= line.at


# --- What waits until nothing else runs --------------------------------------------------------------------------


async def is_handed_over_soon(room: Room, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Settle what runs while the answer that it is waited for is on its way; tell whether that is noticed."""
    sender = await room.transport()
    opened = await idle(room)
    await publish(sender, outgoing("running"))
    (running,) = await take(opened)
    await publish(sender, outgoing("suspect"))
    await take(await room.reader(await room.transport(), consumer="dead", lease=0.05))
    await asyncio.sleep(0.2)
    ask = Polls.ask

    async def slow(self: Polls, *words: Any) -> Answer | None:
        answer = await ask(self, *words)
        if answer and answer.kind == b"drain":
            await settle(opened, Ack(running.token))
        return answer

    monkeypatch.setattr(Polls, "ask", slow)
    receiving = asyncio.ensure_future(opened.receive(limit=1, start=1, wait=PATIENCE))
    done, _ = await asyncio.wait([receiving], timeout=bell.LONGEST_SLEEP / 2)
    opened.wake()
    await bounded(receiving)
    return bool(done)


async def test_what_was_settled_while_the_answer_was_on_its_way_is_waited_for_no_more(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await is_handed_over_soon(redis_room, monkeypatch)
