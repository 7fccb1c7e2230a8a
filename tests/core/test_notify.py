"""Fire and forget: who listens hears it, nobody else does, and what wants an ack is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import hivebus
from hivebus import sending
from hivebus.bus import Bus
from hivebus.errors import InvalidMessage, Unavailable, Unsupported
from hivebus.hookspecs import hookimpl
from hivebus.memory import radio
from hivebus.memory.radio import MemoryRadio
from hivebus.message import Message, Priority
from hivebus.transport import Capabilities, Endpoint, Outgoing, Published, Publisher, Scheme

PATIENCE = 5.0


class Plugin:
    """Serves the fire-and-forget road alone, and a wall that people read."""

    @hookimpl
    def register_transports(self, register: Any) -> None:
        register(Scheme(name="radio", transport=lambda endpoint: MemoryRadio(endpoint)))
        register(Scheme(name="wall", transport=lambda endpoint: Wall()))


class Wall(Publisher):
    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        pass

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
        return [Published("stored") for _ in batch]


def a_bus(url: str = "memory://", agent: str = "pm") -> Bus:
    return Bus(url, agent=agent, plugins=[Plugin()])


class Hearing:
    """Somebody who listens in the background."""

    def __init__(self, bus: Bus, patterns: str | Sequence[str]) -> None:
        self.messages: list[Message] = []
        self._task = asyncio.create_task(self._listen(bus, patterns))

    async def _listen(self, bus: Bus, patterns: str | Sequence[str]) -> None:
        async for message in bus.listen(patterns):
            self.messages.append(message)

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while len(self.messages) < count:
                await asyncio.sleep(0.01)
        return [message.content for message in self.messages]

    async def end(self) -> BaseException | None:
        self._task.cancel()
        (outcome,) = await asyncio.gather(self._task, return_exceptions=True)
        return outcome


@pytest.fixture(params=["memory://", "radio://"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    async with a_bus(request.param) as made:
        yield made


async def test_whoever_listens_hears_it_and_it_is_in_no_inbox(bus: Bus) -> None:
    one, other = Hearing(bus, "agent.qa.#"), Hearing(bus, ["agent.*.build.done", "agent.*.notification"])
    await asyncio.sleep(0.05)
    receipt = await bus.notify("qa", {"n": 1}, context={"a": 1}, correlation_id="c-1")
    await bus.notify("qa", "two", message_type="build.done", priority="high")
    await bus.notify("dev", "three")
    assert await one.until(2) == [{"n": 1}, "two"]
    assert await other.until(3) == [{"n": 1}, "two", "three"]
    message = one.messages[0]
    assert (message.message_id, message.from_agent, message.message_type) == (receipt.message_id, "pm", "notification")
    assert (message.delivery_options.require_ack, message.correlation_id) == (False, "c-1")
    assert (receipt.evidence, receipt.heard, receipt.notes) == ("accepted", 2, ())
    if bus.url == "memory://":
        assert (await bus.queue("qa")).waiting == 0
    await one.end()
    await other.end()


async def test_what_nobody_hears_is_gone_and_the_receipt_says_so(bus: Bus) -> None:
    receipt = await bus.notify("qa", "lost")
    assert receipt.heard == 0
    assert receipt.notes == ("nobody listens to what is sent to qa; the message was not kept",)
    late = Hearing(bus, "#")
    await asyncio.sleep(0.05)
    assert (await bus.notify(["qa", "dev"], "heard")).notes == ()
    assert await late.until(2) == ["heard", "heard"]
    await late.end()


async def test_of_a_list_the_one_who_does_not_listen_is_noticed(bus: Bus) -> None:
    hearing = Hearing(bus, "agent.dev.#")
    await asyncio.sleep(0.05)
    assert (await bus.notify(["dev", "qa"], "x")).heard == (await bus.notify(["qa", "dev"], "x")).heard == 0
    assert await hearing.until(2) == ["x", "x"]
    await hearing.end()


async def test_what_is_in_an_inbox_is_not_heard() -> None:
    async with a_bus() as bus:
        hearing = Hearing(bus, "#")
        await asyncio.sleep(0.05)
        await bus.send("qa", "stored", require_ack=False)
        await bus.notify("qa", "said")
        assert await hearing.until(1) == ["said"]
        assert (await bus.queue("qa")).waiting == 1
        await hearing.end()


async def test_what_is_no_message_is_skipped_with_a_warning(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    hearing = Hearing(bus, "agent.qa.*")
    await asyncio.sleep(0.05)
    other = MemoryRadio(Endpoint(url=bus.url, namespace="hb"))
    await other.connect()
    await other.publish([Outgoing("qa", "m-1", "agent.qa.notification", 2, 0, None, b"{not json")])
    await bus.notify("qa", "good")
    assert await hearing.until(1) == ["good"]
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.getMessage() == "what was heard is no message, and is skipped"
    assert record.why == "json"  # type: ignore[attr-defined]
    await hearing.end()
    await other.close()


async def test_middleware_and_observers_see_a_notification() -> None:
    sent: list[tuple[str, str]] = []

    class Curious(Plugin):
        @hookimpl
        def register_middleware(self, register: Any) -> None:
            async def louder(message: Message, forward: Any) -> Any:
                return await forward(message.model_copy(update={"priority": Priority.HIGH}))

            register(send=louder)

        @hookimpl
        def messages_sent(self, facts: Any) -> None:
            sent.extend((each.inbox, each.state) for each in facts)

    async with Bus("memory://", agent="pm", plugins=[Curious()]) as bus:
        hearing = Hearing(bus, "#")
        await asyncio.sleep(0.05)
        await bus.notify("qa", "hello")
        await hearing.until(1)
        assert hearing.messages[0].priority == "high"
        await hearing.end()
    assert sent == [("qa", "stored")]


@pytest.mark.parametrize("wrong", ["pm", "agent.pm", []])
async def test_what_is_no_pattern_is_an_error_and_no_silence(bus: Bus, wrong: Any) -> None:
    with pytest.raises(InvalidMessage):
        await anext(bus.listen(wrong))


async def test_where_nobody_can_listen_it_is_said() -> None:
    async with a_bus("wall://") as bus:
        with pytest.raises(Unsupported, match="wall:// cannot be listened to"):
            await bus.notify("qa", "x")
        with pytest.raises(Unsupported, match="cannot be listened to"):
            await anext(bus.listen("#"))


async def test_a_bus_that_is_closed_ends_its_listeners() -> None:
    async with a_bus() as bus:
        hearing = Hearing(bus, "#")
        await asyncio.sleep(0.05)
    await asyncio.sleep(0)
    assert isinstance(await hearing.end(), (Unavailable, asyncio.CancelledError))


async def test_a_slow_listener_misses_the_oldest_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(radio, "MOST_WAITING", 3)
    slow = MemoryRadio(Endpoint(url="memory://"))
    await slow.connect()
    await slow.listen(["#"], limit=1, wait=0)
    for n in range(5):
        await slow.publish([Outgoing("qa", str(n), "agent.qa.event", 2, 0, None, b"%d" % n)])
    assert await slow.listen(["#"], limit=9, wait=0) == [b"2", b"3", b"4"]
    assert [each.getMessage() for each in caplog.records] == ["a listener is too slow, and misses messages"]
    await slow.close()
    with pytest.raises(Unavailable):
        await slow.listen(["#"], limit=1, wait=0)


# --- What a message asks for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "capability"),
    [
        ({}, "redelivery"),
        ({"require_ack": False, "ttl": 60}, "ttl"),
        ({"require_ack": False, "delay": 1}, "delay"),
        ({"require_ack": False, "at": datetime.now(UTC) + timedelta(days=1)}, "delay"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_the_name_of_the_capability(wish: Any, capability: str) -> None:
    async with a_bus("radio://") as bus:
        hearing = Hearing(bus, "#")
        await asyncio.sleep(0.05)
        with pytest.raises(Unsupported, match=f"radio:// lacks the capability {capability}") as refused:
            await bus.send("qa", "x", **wish)
        assert refused.value.hint
        await bus.send("qa", "heard", require_ack=False)
        assert await hearing.until(1) == ["heard"], "nothing was written of what was refused"
        await hearing.end()


async def test_a_message_that_was_made_before_is_looked_at_as_well() -> None:
    wanting = Message(from_agent="pm", to_agent="qa", body={"content": "x"})
    content = Message(from_agent="pm", to_agent="qa", body={"content": "x"}, delivery_options={"require_ack": False})
    async with a_bus("radio://") as bus:
        refused, done = await bus.send_many([wanting, content])
        assert isinstance(refused, Unsupported)
        assert isinstance(done, hivebus.Receipt)


async def test_saboteur_without_the_check_a_message_that_wants_an_ack_is_lost_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "refusal", lambda opened: None)
    async with a_bus("radio://") as bus:
        assert (await bus.send("qa", "lost")).heard == 0


@pytest.mark.parametrize("url", ["memory://", "wall://"])
async def test_where_an_inbox_or_a_person_takes_it_no_message_is_looked_at(url: str) -> None:
    async with a_bus(url) as bus:
        assert bus._sending._refuse is None
        assert bus._sending._deliver == bus._sending._hand_over
        assert (await bus.send("qa", "x")).state == "stored"


async def test_who_wants_to_read_an_inbox_where_there_is_none_is_told_how_to_listen() -> None:
    async with a_bus("radio://") as bus:
        with pytest.raises(Unsupported, match="has no inboxes to read") as refused:
            await bus.take()
        assert "hivebus listen" in str(refused.value.hint)
