"""Whoever hears the bell asks at once: what is begun then is what `receive` wants, and no answer to it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import Unknown
from hivebus.transport import Ack, Delivery, Inbox
from hivebus_redis import bell, connection, continuity, reader
from hivebus_redis.bulk import Bulk
from hivebus_redis.connection import Server
from hivebus_redis.continuity import Continuity
from hivebus_redis.drill.ledger import Book, read
from hivebus_redis.drill.watched import Watch, WatchedReader
from hivebus_redis.polls import Answer, Polls
from hivebus_redis.reader import StreamReader

from .own_server import OwnServer
from .proxy import Proxy
from .room import INBOX, LONG, PATIENCE, Room, asleep, ids, outgoing, publish, settle, take, until

LEASE = 1.0
Act = Callable[[], object]


class Begun:
    """What was begun while a test ran.

    Attributes:
        words: limit, start and how many run, of each poll.
        before, behind: done at each, before it leaves and behind that, in the same turn of the loop.
    """

    def __init__(self) -> None:
        self.words: list[tuple[int, int, int]] = []
        self.before: Act | None = None
        self.behind: Act | None = None


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Keep book of the polls that are begun."""
    kept, begin = Begun(), Polls.begin

    def noted(self: Polls, *words: int) -> None:
        if kept.before is not None:
            kept.before()
        begin(self, *words)
        kept.words.append(words)
        if kept.behind is not None:
            kept.behind()

    monkeypatch.setattr(Polls, "begin", noted)
    # Looked at once, in `idle`.
    monkeypatch.setattr(continuity, "EVERY", 1e6)
    return kept


async def idle(room: Room, url: str | None = None, *, lease: float = LONG) -> StreamReader:
    """Return a reader that has looked at its empty inbox once."""
    opened = await room.reader(await room.transport(url), lease=lease)
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


async def test_who_sleeps_asks_when_the_bell_is_heard(room: Room, begun: Begun) -> None:
    opened = await idle(room)
    receiving = await sleeping(room, opened)

    await publish(await room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"] and begun.words == [(5, 5, 0)]


async def test_it_asks_for_what_the_present_call_wants(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    sender = await redis_room.transport()
    await publish(sender, *(outgoing(f"old-{n}") for n in range(2)))
    running = await take(opened, 2)
    assert await opened.receive(limit=9, start=9, wait=0.05) == []
    receiving = await sleeping(redis_room, opened, limit=3, start=1)

    await publish(sender, *(outgoing(f"m-{n}") for n in range(4)))

    got = await bounded(receiving)
    assert ids(got) == ["m-0", "m-1", "m-2"] and begun.words[-1] == (3, 1, len(running))
    assert {each.token for each in running} < opened._started and len(opened._started) == len(running) + 1


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


# --- When nothing is begun ------------------------------------------------------------------------------------


def woken(opened: StreamReader, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.wake()


def with_a_lost_answer(opened: StreamReader, monkeypatch: pytest.MonkeyPatch) -> None:
    opened._lost_reply = True


def about_to_look_at_the_bus(opened: StreamReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Continuity, "is_due", True)


def about_to_go_the_short_way(opened: StreamReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bulk, "is_worth_it", True)


def closed(opened: StreamReader, monkeypatch: pytest.MonkeyPatch) -> None:
    opened._closed = True


@pytest.mark.parametrize(
    "state", [woken, with_a_lost_answer, about_to_look_at_the_bus, about_to_go_the_short_way, closed]
)
async def test_nothing_is_begun_where_something_else_comes_first(
    state: Callable[..., None], redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await idle(redis_room)
    receiving = await sleeping(redis_room, opened)
    state(opened, monkeypatch)

    opened._hear()

    assert begun.words == []
    opened._closed = False
    opened.wake()
    monkeypatch.undo()
    await bounded(receiving)


async def test_nothing_is_begun_for_who_only_looks(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    looking = asyncio.ensure_future(opened.glance(limit=5, wait=PATIENCE))
    await asleep(redis_room)

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert sum(await bounded(looking)) == 1 and begun.words == []


async def brought_to_the_next_call(room: Room) -> list[str]:
    """Let the bell ring between two calls, of which the second one wants less; return what that brings."""
    opened = await idle(room)
    assert await opened.receive(limit=9, start=9, wait=0.05) == []
    await asleep(room)
    await publish(await room.transport(), outgoing("m-1"), outgoing("m-2"))
    await until(lambda: opened._bell._listening is not None and opened._bell._listening.done())
    return ids(await opened.receive(limit=1, start=1, wait=0))


async def test_nothing_is_begun_when_nobody_receives(redis_room: Room, begun: Begun) -> None:
    assert await brought_to_the_next_call(redis_room) == ["m-1"] and begun.words == []


async def test_saboteur_who_asks_for_a_call_that_is_over_brings_more_than_is_wanted(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        StreamReader, "_asleep_for", property(lambda self: (9, 9), lambda self, wanted: None), raising=False
    )

    assert await brought_to_the_next_call(redis_room) == ["m-1", "m-2"]


async def test_a_bell_that_rings_twice_begins_once(redis_room: Room, begun: Begun, monkeypatch: Any) -> None:
    opened = await idle(redis_room)
    receiving = await sleeping(redis_room, opened)
    sent = []
    channel_begin = connection.Channel.begin
    monkeypatch.setattr(
        connection.Channel, "begin", lambda self, *words: sent.append(words) or channel_begin(self, *words)
    )
    begun.behind = lambda: opened._hear() if len(begun.words) == 1 else None

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"] and len(begun.words) == 2 and len(sent) == 1


async def test_a_bell_that_breaks_begins_nothing(redis_room: Room, proxy: Proxy, begun: Begun) -> None:
    opened = await idle(redis_room, proxy.url)
    proxy.lose_answer_to_command("XREAD")
    receiving = await sleeping(redis_room, opened)

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"] and begun.words == [] and proxy.lost == 1


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

    assert ids(await take(opened)) == ["m-1"] and begun.words == []
    assert bell.LOOK_AGAIN in pauses


# --- Nothing is lost sight of -----------------------------------------------------------------------------------


async def test_who_is_woken_behind_it_returns_what_it_brings(redis_room: Room, begun: Begun) -> None:
    opened = await idle(redis_room)
    receiving = await sleeping(redis_room, opened)
    begun.behind = opened.wake

    await publish(await redis_room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"] and len(begun.words) == 1
    assert await bounded(asyncio.ensure_future(opened.receive(limit=1, start=1, wait=PATIENCE))) == []


async def cancelled_behind_it(room: Room, begun: Begun) -> StreamReader:
    """Cancel whoever receives in the turn of the loop in which the poll has left."""
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    begun.behind = receiving.cancel
    await publish(await room.transport(), outgoing("m-1"))
    with pytest.raises(asyncio.CancelledError):
        await bounded(receiving)
    assert len(begun.words) == 1
    begun.behind = None
    return opened


async def test_who_is_cancelled_behind_it_finds_what_it_brought(redis_room: Room, begun: Begun) -> None:
    opened = await cancelled_behind_it(redis_room, begun)
    wire = opened._receiving.wire

    (found,) = await take(opened)

    assert ids([found]) == ["m-1"] and (found.failures, found.crashes) == (0, 0)
    assert await settle(opened, Ack(found.token)) == "done"
    assert opened._receiving.wire is wire, "the connection is whole"


async def test_saboteur_who_forgets_what_it_has_begun_never_sees_that_message(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up = Polls.give_up
    monkeypatch.setattr(Polls, "give_up", lambda self: give_up(self) and False)
    opened = await cancelled_behind_it(redis_room, begun)

    assert await take(opened, wait=0.3) == []


async def found_by_its_heir(room: Room, begun: Begun) -> list[Delivery]:
    """Close a reader behind the poll that was begun; return what comes to another one."""
    opened = await idle(room)
    receiving = await sleeping(room, opened)
    closing: list[asyncio.Future[None]] = []
    begun.behind = lambda: closing.append(asyncio.ensure_future(opened.close()))
    await publish(await room.transport(), outgoing("m-1"))
    assert await bounded(receiving) == []
    await bounded(closing[0])
    assert len(begun.words) == 1
    return await take(await room.reader(await room.transport(), consumer="heir"), wait=0.5)


async def test_who_is_closed_behind_it_hands_back_what_it_brings(redis_room: Room, begun: Begun) -> None:
    (found,) = await found_by_its_heir(redis_room, begun)

    assert (found.failures, found.crashes, found.alone) == (0, 0, False)


async def test_saboteur_who_does_not_ask_what_it_was_given_keeps_it_for_a_lease(
    redis_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(self: StreamReader) -> None:
        """Close as if nothing had been asked."""

    monkeypatch.setattr(StreamReader, "_resynchronise", forget)

    assert await found_by_its_heir(redis_room, begun) == []


async def test_messages_in_its_lost_answer_are_found_again(redis_room: Room, proxy: Proxy, begun: Begun) -> None:
    opened = await idle(redis_room, proxy.url)
    receiving = await sleeping(redis_room, opened)
    proxy.lose_answers_to("receive")
    await publish(await redis_room.transport(), outgoing("m-1"))
    with pytest.raises(Unknown):
        await bounded(receiving)
    assert proxy.lost == len(begun.words) == 1

    assert ids(await take(opened)) == ["m-1"]


async def test_functions_that_are_gone_are_loaded_again(own_room: Room, begun: Begun) -> None:
    opened = await idle(own_room)
    receiving = await sleeping(own_room, opened)
    own_room.redis.function_flush()
    own_room.redis.xadd(own_room.key("bell"), {"b": ""})
    await until(lambda: begun.words)
    await publish(await own_room.transport(), outgoing("m-1"))

    assert ids(await bounded(receiving)) == ["m-1"]


async def test_a_silent_server_holds_nobody_who_is_woken_and_loses_nothing(
    own_server: OwnServer, own_room: Room, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server.channel, "__kwdefaults__", {"reply_timeout": 1.0})
    sender, opened = await own_room.transport(), await idle(own_room)
    receiving = await sleeping(own_room, opened)
    begun.before, begun.behind = own_server.pause, opened.wake
    with suppress(Unknown):
        # Its answer may not have been written yet when the bell was.
        await publish(sender, outgoing("m-1"))
    async with asyncio.timeout(5.0):
        with pytest.raises(Unknown):
            await receiving
    begun.before = begun.behind = None
    own_server.resume()

    (found,) = await take(opened)
    assert ids([found]) == ["m-1"] and (found.failures, found.crashes, found.alone) == (0, 0, False)
    assert await settle(opened, Ack(found.token)) == "done"


# --- The question what a reader holds is asked behind it --------------------------------------------------------


async def asks_while_the_poll_is_on_its_way(room: Room, proxy: Proxy, begun: Begun) -> list[Delivery]:
    """Give up a poll that is held up on its line, and return what the next calls bring."""
    opened = await idle(room, proxy.url)
    receiving = await sleeping(room, opened)
    proxy.hold_calls_of("receive")
    begun.behind = receiving.cancel
    await publish(await room.transport(), outgoing("m-1"))
    with pytest.raises(asyncio.CancelledError):
        await bounded(receiving)
    begun.behind = None
    taking = asyncio.ensure_future(take(opened, wait=1.0))
    await asyncio.sleep(0.3)
    proxy.let_go()
    return await bounded(taking)


async def test_what_a_reader_holds_is_asked_behind_the_poll(redis_room: Room, proxy: Proxy, begun: Begun) -> None:
    assert ids(await asks_while_the_poll_is_on_its_way(redis_room, proxy, begun)) == ["m-1"]


async def test_saboteur_who_asks_that_on_another_connection_is_told_too_early(
    redis_room: Room, proxy: Proxy, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Server.call

    async def beside(self: Server, function: str, *words: Any, **options: Any) -> Any:
        return await call(self, function, *words, **({} if function in ("open", "held") else options))

    monkeypatch.setattr(Server, "call", beside)

    assert await asks_while_the_poll_is_on_its_way(redis_room, proxy, begun) == []


# --- Its time is that at which it left ---------------------------------------------------------------------------


async def is_relied_on(room: Room, begun: Begun) -> bool:
    """Block the loop for more than a lease behind the poll; tell whether what it brought is held for certain."""
    sender, opened = await room.transport(), await idle(room, lease=LEASE)
    receiving = await sleeping(room, opened)
    begun.behind = lambda: time.sleep(LEASE * 1.1)
    await publish(sender, outgoing("m-1"))
    (found,) = await bounded(receiving)
    assert len(begun.words) == 1
    return opened.holds(found.token)


async def test_what_a_begun_poll_brings_is_held_from_when_it_left(redis_room: Room, begun: Begun) -> None:
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
    left: list[float] = []
    receiving = await sleeping(redis_room, opened)
    begun.behind = lambda: left.append(time.monotonic())
    await publish(await redis_room.transport(), outgoing("m-1"))
    assert ids(await bounded(receiving)) == ["m-1"]
    await opened.close()
    watch.book.close()

    (line,) = [each for each in read(tmp_path) if each.kind == "P"]
    assert float(line.words[1]) <= left[0] <= line.at and len(left) == 1


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

    async def slow(self: Polls, *words: Any) -> Answer:
        answer = await ask(self, *words)
        if answer.kind == b"drain":
            await settle(opened, Ack(running.token))
        return answer

    monkeypatch.setattr(Polls, "ask", slow)
    receiving = asyncio.ensure_future(opened.receive(limit=1, start=1, wait=PATIENCE))
    done, _ = await asyncio.wait([receiving], timeout=reader.MAX_SLEEP / 2)
    opened.wake()
    await bounded(receiving)
    return bool(done)


async def test_what_was_settled_while_the_answer_was_on_its_way_is_waited_for_no_more(
    redis_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await is_handed_over_soon(redis_room, monkeypatch)
