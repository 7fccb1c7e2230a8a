"""`redis+pubsub://` on real servers: who hears what, and what is said when something may have been missed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import HivebusError, NotPermitted, Unavailable, Unknown, Unsupported
from hivebus.transport import Endpoint, Published
from hivebus_redis import ear, subscription
from hivebus_redis.errors import while_away
from hivebus_redis.pubsub import RedisPubSub, open_pubsub
from hivebus_redis.subscription import Subscription

from .own_server import OwnServer
from .proxy import Proxy
from .room import PATIENCE, Room, outgoing, until

CUT_OFF = "a listener was cut off, and listens again: it may have missed notifications"
PATTERN = ["agent.pm.*"]


def pubsub_of(url: str) -> str:
    return url.replace("://", "+pubsub://", 1)


def alarms(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "hivebus.alarms"]


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Connect listeners that are closed in the end."""
    made: list[RedisPubSub] = []

    async def connected(room: Room, url: str | None = None) -> RedisPubSub:
        made.append(open_pubsub(Endpoint(url=pubsub_of(url or room.url), namespace=room.namespace)))
        await made[-1].connect()
        return made[-1]

    yield connected
    for each in made:
        await each.close()


async def tuned_in(room: Room, connect: Callable[..., Any], url: str | None = None) -> RedisPubSub:
    listener: RedisPubSub = await connect(room, url)
    await listener.listen(PATTERN, limit=1, wait=0)
    return listener


class Hearing:
    """Somebody who listens with a bus in the background."""

    def __init__(self, bus: Bus, *patterns: str) -> None:
        self.contents: list[Any] = []
        self._task = asyncio.create_task(self._listen(bus, patterns))

    async def _listen(self, bus: Bus, patterns: tuple[str, ...]) -> None:
        async for message in bus.listen(patterns):
            self.contents.append(message.content)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def subscribed(room: Room, count: int) -> None:
    """Return when so many listeners are connected and have subscribed."""
    await until(lambda: len(subscribers(room)) >= count)


def subscribers(room: Room) -> list[Any]:
    return [each for each in room.redis.client_list() if int(each["psub"])]


# --- who hears what --------------------------------------------------------------------------------


async def test_a_thousand_notifications_are_heard_by_those_whose_patterns_match(own_room: Room) -> None:
    async with own_room.bus("sender") as sender, own_room.bus("listener") as bus:
        matching = [
            Hearing(bus, "agent.pm.notification"),
            Hearing(bus, "agent.*.notification", "agent.pm.#"),
            Hearing(bus, "#"),
        ]
        others = [Hearing(bus, "agent.qa.#"), Hearing(bus, "agent.pm.*.done", "agent.pm.alert")]
        await subscribed(own_room, 5)
        receipts = await asyncio.gather(*(sender.notify("pm", number) for number in range(1000)))
        await until(lambda: all(len(each.contents) >= 1000 for each in matching))
        # What would come twice would have come by the time that this is heard.
        await sender.notify("qa", "last")
        await until(lambda: others[0].contents and all(len(each.contents) == 1001 for each in matching[1:]))
        assert [each.contents[:1000] for each in matching] == [list(range(1000))] * 3
        assert [len(each.contents) for each in (*matching, *others)] == [1000, 1001, 1001, 1, 0]
        # The second listener counts twice, since two of its patterns match.
        assert {receipt.heard for receipt in receipts} == {4}
        assert own_room.redis.keys(f"{own_room.namespace}:*pm*") == [], "nothing is kept on the server"
        for each in (*matching, *others):
            await each.end()
    await until(lambda: not subscribers(own_room))


async def test_saboteur_who_trusts_the_globs_of_the_server_hears_too_much(
    room: Room, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Subscription, "_is_wanted", lambda self, glob, channel: True)
    listener = await tuned_in(room, connect)
    await listener.publish([outgoing()._replace(routing_key="agent.pm.build.done")])
    assert len(await listener.listen(PATTERN, limit=9, wait=PATIENCE)) == 1, "a star would be one part"


async def test_what_a_pubsub_bus_sends_and_a_streams_bus_says_is_one_and_the_same(room: Room) -> None:
    async with room.bus("one") as streams, room.bus("two", pubsub_of(room.url)) as pubsub:
        hearings = [Hearing(streams, "agent.pm.#"), Hearing(pubsub, "agent.pm.#")]
        await subscribed(room, 2)
        await pubsub.send("pm", "sent", require_ack=False)
        await streams.notify("pm", "said")
        await pubsub.notify("pm", "said too")
        await until(lambda: all(each.contents == ["sent", "said", "said too"] for each in hearings))
        with pytest.raises(Unsupported, match=r"\+pubsub://.* lacks the capability redelivery"):
            await pubsub.send("pm", "x")
        for each in hearings:
            await each.end()


async def test_buses_that_share_a_server_do_not_hear_each_other(room: Room) -> None:
    async with room.bus("a") as here, Bus(room.url, agent="b", namespace=f"{room.namespace}2") as there:
        hearing = Hearing(here, "#")
        await subscribed(room, 1)
        assert (await there.notify("pm", "there")).heard == 0
        await here.notify("pm", "here")
        await until(lambda: hearing.contents == ["here"])
        await hearing.end()


async def test_what_strangers_publish_on_a_channel_harms_nobody(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async with room.bus("a") as bus:
        hearing = Hearing(bus, "#")
        await subscribed(room, 1)
        for channel, data in ((b"agent.pm.event", b"\xff\x00{"), (b"\xff\xfe", b"x"), (b"", b"[]"), (b"x", b"{}")):
            room.redis.publish(room.namespace.encode() + b":" + channel, data)
        await bus.notify("pm", "good")
        await until(lambda: hearing.contents)
        assert hearing.contents == ["good"]
        skipped = [each for each in caplog.records if each.name == "hivebus.listening"]
        assert len(skipped) == 4
        await hearing.end()


# --- batches, and items that fail alone -----------------------------------------------------------------


async def test_a_batch_is_said_in_order_and_each_item_fails_alone(room: Room, connect: Callable[..., Any]) -> None:
    listener = await tuned_in(room, connect)
    items = [outgoing(data=b"%d" % number) for number in range(498)]
    bad = [outgoing(delay=1), outgoing(ttl=5), outgoing(data=b"x" * 300_000)]
    results = await listener.publish([bad[0], *items[:250], bad[1], *items[250:], bad[2]])
    said = [result for result in results if isinstance(result, Published)]
    assert said == [Published("stored", heard=1)] * 498
    assert [type(results[place]).__name__ for place in (0, 251, 500)] == [
        "Unsupported",
        "Unsupported",
        "InvalidMessage",
    ]
    heard: list[bytes] = []
    while len(heard) < 498:
        heard += await listener.listen(PATTERN, limit=100, wait=PATIENCE)
    assert heard == [item.data for item in items]
    assert await listener.publish([outgoing(delay=1)]) != []


async def test_what_may_have_been_heard_is_not_said_again(
    redis_room: Room, proxy: Proxy, connect: Callable[..., Any]
) -> None:
    listener = await tuned_in(redis_room, connect)
    async with redis_room.bus("sender", pubsub_of(proxy.url)) as bus:
        proxy.lose_answer_to_command("PUBLISH")
        with pytest.raises(Unknown, match="is not said again") as lost:
            await bus.send("pm", "once", require_ack=False)
        assert not lost.value.repeatable
        assert len(await listener.listen(PATTERN, limit=9, wait=PATIENCE)) == 1
        await bus.send("pm", "next", require_ack=False)
        assert len(await listener.listen(PATTERN, limit=9, wait=PATIENCE)) == 1


# --- what may have been missed ---------------------------------------------------------------------------


async def test_a_listener_outlives_its_server_and_says_that_it_may_have_missed_something(
    own_server: OwnServer, own_room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async with own_room.bus("a") as bus:
        hearing = Hearing(bus, "agent.pm.#", "agent.*.alert")
        await subscribed(own_room, 1)
        await bus.notify("pm", "before")
        await until(lambda: hearing.contents)
        own_server.kill()
        own_server.start()
        await subscribed(own_room, 1)
        await bus.notify("pm", "after")
        await until(lambda: len(hearing.contents) == 2)
        assert hearing.contents == ["before", "after"]
        (alarm,) = [each for each in alarms(caplog) if each.getMessage() == CUT_OFF]
        assert (alarm.levelno, alarm.patterns) == (logging.WARNING, ("agent.pm.#", "agent.*.alert"))  # type: ignore[attr-defined]
        assert alarm.seconds > 0 and alarm.why  # type: ignore[attr-defined]
        await hearing.end()


async def test_what_was_heard_before_the_line_broke_is_not_lost_with_it(
    own_room: Room, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    listener = await tuned_in(own_room, connect)
    await listener.publish([outgoing(data=b"heard")])
    await asyncio.sleep(0.05)
    own_room.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: not subscribers(own_room))
    await listener.publish([outgoing(data=b"missed")])
    assert await listener.listen(PATTERN, limit=9, wait=0) == [b"heard"]
    assert alarms(caplog) == []
    assert await listener.listen(PATTERN, limit=9, wait=0) == []
    assert [each.getMessage() for each in alarms(caplog)] == [CUT_OFF]


async def test_a_server_that_stays_away_is_an_error_and_no_silence(
    own_server: OwnServer,
    own_room: Room,
    connect: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(subscription, "while_away", partial(while_away, patience=0.3))
    listener = await tuned_in(own_room, connect)
    own_server.kill()
    for _ in range(2):
        with pytest.raises(Unavailable, match="no server answers"):
            await listener.listen(PATTERN, limit=1, wait=PATIENCE)
    own_server.start()
    assert await listener.listen(PATTERN, limit=1, wait=0) == []
    assert [each.getMessage() for each in alarms(caplog)] == [CUT_OFF], "told when it listens again"


@pytest.mark.parametrize("looks", [True, False], ids=["", "saboteur"])
async def test_a_dead_line_is_noticed_although_nobody_hangs_up(
    redis_room: Room, proxy: Proxy, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    monkeypatch.setattr(ear, "LOOK_EVERY", 0.1 if looks else 60.0)
    monkeypatch.setattr(subscription, "while_away", partial(while_away, patience=0.3))
    listener = await tuned_in(redis_room, connect, proxy.url)
    await asyncio.sleep(0.5)
    assert await listener.listen(PATTERN, limit=1, wait=0) == [], "a silent line is no dead one"
    proxy.swallow_everything()
    if looks:
        with pytest.raises(HivebusError, match="did not answer|lost the connection|no server answers"):
            await listener.listen(PATTERN, limit=1, wait=PATIENCE)
    else:
        assert await listener.listen(PATTERN, limit=1, wait=1.0) == []


async def test_who_does_not_take_what_it_heard_is_cut_off_before_it_fills_the_memory(
    own_room: Room, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ear, "MOST_WAITING", 20)
    own_room.redis.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
    slow = await tuned_in(own_room, connect)
    speaker = await connect(own_room)
    for _ in range(40):
        await speaker.publish([outgoing(data=b"x" * 1000)] * 500)
    await until(lambda: not subscribers(own_room))
    heard = 0
    while not alarms(caplog):
        heard += len(await slow.listen(PATTERN, limit=500, wait=0.2))
    assert 20 <= heard < 20_000
    assert [each.getMessage() for each in alarms(caplog)] == [CUT_OFF]
    await speaker.publish([outgoing(data=b"again")])
    assert await slow.listen(PATTERN, limit=10, wait=PATIENCE) == [b"again"]


async def test_a_slow_listener_gets_everything_as_long_as_the_server_is_patient(
    room: Room, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear, "MOST_WAITING", 20)
    slow = await tuned_in(room, connect)
    for start in range(0, 1000, 100):
        await slow.publish([outgoing(data=b"%d" % number) for number in range(start, start + 100)])
    heard: list[bytes] = []
    while len(heard) < 1000:
        heard += await slow.listen(PATTERN, limit=7, wait=PATIENCE)
    assert heard == [b"%d" % number for number in range(1000)]


async def test_who_closes_a_listener_wakes_who_waits(room: Room, connect: Callable[..., Any]) -> None:
    listener = await tuned_in(room, connect)
    waiting = asyncio.create_task(listener.listen(PATTERN, limit=1, wait=PATIENCE))
    await asyncio.sleep(0.05)
    await listener.close()
    with pytest.raises(Unavailable, match="is closed"):
        await waiting


# --- who may do what ----------------------------------------------------------------------------------------


async def test_an_agent_needs_no_more_rights_than_its_channels(own_room: Room, connect: Callable[..., Any]) -> None:
    rules = ("reset", "on", ">pa55", "+@connection", "+publish", "+psubscribe", f"&{own_room.namespace}:agent.pm.*")
    own_room.redis.execute_command("ACL", "SETUSER", "agent", *rules)
    listener = await tuned_in(own_room, connect, own_room.url.replace("://", "://agent:pa55@"))
    assert await listener.publish([outgoing(data=b"x")]) == [Published("stored", heard=1)]
    assert await listener.listen(PATTERN, limit=1, wait=PATIENCE) == [b"x"]


async def test_who_may_not_use_a_channel_is_told_so(own_room: Room, connect: Callable[..., Any]) -> None:
    rules = ("reset", "on", ">pa55", "+@connection", "+publish", "+psubscribe", "&other:*")
    own_room.redis.execute_command("ACL", "SETUSER", "agent", *rules)
    listener = await connect(own_room, own_room.url.replace("://", "://agent:pa55@"))
    (refused,) = await listener.publish([outgoing()])
    assert isinstance(refused, NotPermitted)
    with pytest.raises(NotPermitted, match="an access rule of the server forbids it"):
        await listener.listen(PATTERN, limit=1, wait=0)
