"""The bus for scripts: blocking functions that send by the shortest road there is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest

import hivebus
from hivebus import plugin_index, sync
from hivebus.errors import (
    ConfigError,
    DurabilityUnavailable,
    HivebusError,
    InvalidMessage,
    QueueFull,
    Unavailable,
    Unknown,
)
from hivebus.message import Message
from hivebus.receipt import Receipt
from hivebus.transport import Endpoint, OneShot, Outgoing, Published, Scheme

MESSAGE = Message(from_agent="pm", to_agent="dev", body={"content": "x"})


@pytest.fixture
def url(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real server, and a namespace of its own for the test."""
    monkeypatch.setenv("HIVEBUS_NAMESPACE", f"sync-{uuid4().hex[:8]}")
    found: str = redis_server.url
    return found


def serve(monkeypatch: pytest.MonkeyPatch, make: Callable[[Endpoint], OneShot | None], **changes: Any) -> None:
    """Install a scheme ``shot`` with this one-shot sender, in the index."""
    index = plugin_index.read()
    scheme = Scheme(name="shot", transport="hivebus.memory.transport:MemoryTransport", one_shot=make)
    monkeypatch.setattr(plugin_index, "read", lambda: index._replace(schemes=[*index.schemes, scheme], **changes))


class Shot(OneShot):
    """Answers what the test says, one answer per call."""

    def __init__(self, *answers: Published | HivebusError, durability: str | None = None) -> None:
        self.batches: list[list[Outgoing]] = []
        self.durability = durability
        self._answers = iter(answers)

    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        self.batches.append(list(batch))
        answer = next(self._answers)
        if isinstance(answer, (Unknown, Unavailable)):
            raise answer
        return [answer, *(Published("stored") for _ in batch[1:])]


# --- On a real server --------------------------------------------------------------------------------------


def test_a_script_sends_and_another_receives(url: str) -> None:
    receipt = hivebus.send("dev", {"any": "JSON"}, from_agent="pm", url=url, priority="high", message_type="question")
    assert (receipt.state, receipt.legs) == ("stored", {"redis": receipt.evidence})
    assert hivebus.status(receipt.message_id, url=url).state == "queued"
    message = hivebus.receive("dev", url=url, wait=5)
    assert message is not None and message == receipt.message
    assert hivebus.status(receipt.message_id, agent="dev", url=url).state == "acknowledged"
    assert hivebus.reply(message, "Yes.", from_agent="dev", url=url).state == "stored"
    answer = hivebus.receive("pm", url=url, wait=5)
    assert answer is not None and answer.correlation_id == receipt.message_id


def test_nothing_to_receive_is_none(url: str) -> None:
    assert hivebus.receive("dev", url=url) is None


def test_send_many_returns_a_receipt_or_an_error_per_message_in_order(url: str) -> None:
    good = Message(from_agent="pm", to_agent="dev", body={"content": "x"})
    results = hivebus.send_many(
        [good, good.replace(message_id="too-large", body={"content": "x" * 300_000}), good.replace(message_id="last")],
        url=url,
    )
    assert [type(result) for result in results] == [Receipt, InvalidMessage, Receipt]
    assert hivebus.send_many([], url=url) == []


def test_two_sends_of_one_id_are_one_message(url: str) -> None:
    states = [hivebus.send("dev", "x", from_agent="pm", url=url, message_id="same").state for _ in range(2)]
    assert states == ["stored", "duplicate"]


def test_a_level_that_the_server_does_not_give_is_an_error_on_the_short_road_too(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_DURABILITY", "replicated")
    with pytest.raises(DurabilityUnavailable):
        hivebus.send("dev", "x", from_agent="pm", url=url, message_id="nowhere")
    monkeypatch.delenv("HIVEBUS_DURABILITY")
    assert hivebus.status("nowhere", url=url).state == "unknown"


def test_where_nothing_listens_it_is_unavailable(tmp_path: Any) -> None:
    with pytest.raises(Unavailable):
        hivebus.send("dev", "x", from_agent="pm", url=f"unix://{tmp_path}/none.sock")


def test_one_message_is_sent_without_a_model_an_event_loop_or_a_client_library(url: str) -> None:
    program = (
        "import sys, hivebus; hivebus.send('dev', 'x', from_agent='pm', url=sys.argv[1]);"
        "print([name for name in ('pydantic', 'asyncio', 'redis', 'pluggy') if name in sys.modules])"
    )
    # The first process may have to build the index of plugins; the second does not.
    seen = [
        subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True, timeout=60)
        for _ in range(2)
    ]
    assert seen[1].stdout.strip() == "[]"


# --- In a running loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("send", lambda: hivebus.send("dev", "x", from_agent="pm", url="memory://")),
        ("send_many", lambda: hivebus.send_many([], url="memory://")),
        ("reply", lambda: hivebus.reply(MESSAGE, "x", from_agent="pm", url="memory://")),
        ("receive", lambda: hivebus.receive("dev", url="memory://")),
        ("status", lambda: hivebus.status("id", url="memory://")),
    ],
)
async def test_inside_a_running_loop_it_refuses_and_names_what_to_await(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=f"hivebus.{name} blocks") as caught:
        call()
    assert f"await bus.{name}(" in str(caught.value)


def test_outside_of_a_loop_it_does_not_refuse() -> None:
    assert hivebus.receive("dev", url="memory://") is None


# --- The short road ----------------------------------------------------------------------------------------


def send(**options: Any) -> Receipt:
    return hivebus.send("dev", "x", **{"from_agent": "pm", "url": "shot://", **options})


def test_the_short_road_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shot = Shot(Published("scheduled"), durability="fsync")
    serve(monkeypatch, lambda endpoint: shot)
    receipt = send(delay=5, ttl=60, priority=5, message_type="event")
    assert (receipt.state, receipt.durability, receipt.legs) == ("scheduled", "fsync", {"shot": "accepted"})
    ((item,),) = shot.batches
    assert (item.inbox, item.priority, item.delay, item.ttl, item.routing_key) == ("dev", 5, 5, 60, "agent.dev.event")
    assert Message.from_json(item.data) == receipt.message


@pytest.mark.parametrize(
    ("make", "changes"),
    [(lambda endpoint: None, {}), (lambda endpoint: Shot(), {"alters_messages": True})],
    ids=["the URL needs the full client", "a plugin wants to see the message"],
)
def test_the_long_road_is_taken_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Endpoint], OneShot | None], changes: dict[str, Any]
) -> None:
    serve(monkeypatch, make, **changes)
    index = plugin_index.read()
    memory = index.scheme("memory://")
    assert memory is not None
    shot = index.scheme("shot://")
    assert shot is not None
    schemes = [Scheme(name="memory", transport=memory.transport, one_shot=shot.one_shot)]
    monkeypatch.setattr(plugin_index, "read", lambda **options: index._replace(schemes=schemes))
    assert send(url="memory://", priority="high").legs == {"memory": "accepted"}


def test_a_level_is_known_to_be_given_or_asked_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_DURABILITY", "fsync")
    serve(monkeypatch, lambda endpoint: Shot(Published("stored"), durability="fsync"))
    assert send().durability == "fsync"


def test_what_is_unknown_is_sent_again_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    shot = Shot(Unknown("lost"), Unknown("lost"), Published("duplicate"))
    serve(monkeypatch, lambda endpoint: shot)
    assert send().state == "duplicate"
    assert len(shot.batches) == 3
    assert len({item.message_id for batch in shot.batches for item in batch}) == 1


def test_what_stays_unknown_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "GIVE_UP_AFTER", 0.5)
    shot = Shot(*(Unknown("lost") for _ in range(1000)))
    serve(monkeypatch, lambda endpoint: shot)
    with pytest.raises(Unknown):
        send()
    assert len(shot.batches) >= 2


@pytest.mark.parametrize("error", [QueueFull("dev is full"), Unavailable("away")])
def test_what_was_refused_or_could_not_be_tried_is_raised_at_once(
    monkeypatch: pytest.MonkeyPatch, error: HivebusError
) -> None:
    shot = Shot(error, Published("stored"))
    serve(monkeypatch, lambda endpoint: shot)
    with pytest.raises(type(error)):
        send()
    assert len(shot.batches) == 1


def test_one_recipient_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    shot = Shot(QueueFull("dev is full"))
    serve(monkeypatch, lambda endpoint: shot)
    with pytest.raises(QueueFull):
        hivebus.send(["dev", "ops"], "x", from_agent="pm", url="shot://")


@pytest.mark.parametrize(
    "broken",
    [{"from_agent": "PM"}, {"delay": -1}, {"delay": None}, {"priority": "critical"}, {"content": "x" * 300_000}],
    ids=["from_agent", "a negative delay", "no delay", "priority", "too large"],
)
def test_nothing_is_written_of_what_breaks_a_limit(monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]) -> None:
    shot = Shot()
    serve(monkeypatch, lambda endpoint: shot)
    with pytest.raises(InvalidMessage):
        hivebus.send(**{"to_agent": "dev", "content": "x", "from_agent": "pm", "url": "shot://", **broken})
    assert shot.batches == []


def test_an_unknown_scheme_lists_the_installed_ones() -> None:
    with pytest.raises(ConfigError, match="no transport called 'nope'; installed: .*memory"):
        send(url="nope://host")
