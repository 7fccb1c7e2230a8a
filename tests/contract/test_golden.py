"""Golden files: what travels today is read and written byte for byte, as it was and as it will be.

A file here is never changed to please the code: messages like it lie in the inboxes of others.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.codec import JsonCodec
from hivebus.envelope import compose, encode
from hivebus.errors import InvalidMessage
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.transport import Endpoint, Outgoing

GOLDEN = Path(__file__).parent / "golden"
READABLE = ["canonical", "short", "older_minor", "newer_minor"]


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")


def facts(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(golden(name))
    return read


def test_every_file_is_tested() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == sorted([*READABLE, "unknown_version"])


def test_the_canonical_message_is_written_as_it_was_read() -> None:
    message = Message.from_json(golden("canonical"))
    assert message.to_json() == golden("canonical")
    assert JsonCodec().encode(message) == golden("canonical")


def test_the_canonical_message_is_read_field_by_field() -> None:
    message = Message.from_json(golden("canonical"))
    assert message.message_id == "3f0c2a4e-7d2f-4b9a-8a57-0d5b6c1e2f90"
    assert (message.from_agent, message.to_agent) == ("pm-agent", "frontend-agent")
    assert (message.message_type, message.priority, message.ttl) == ("task_assignment", "high", 3600)
    assert message.timestamp == datetime(2025, 7, 16, 12, 35, tzinfo=UTC)
    assert message.content == 'Implement message bus – 🐝\n-- "quoted"'
    assert message.body.context == {"sprint": 7, "files": ["bus.py", None]}
    assert message.body.metadata == {"cost": 1.5}
    options = message.delivery_options
    assert (options.require_ack, options.max_retries, options.retry_delay) == (True, 3, 30)
    assert message.correlation_id == "5b8e9d80-3f6b-4c58-9f0e-1f2a3b4c5d6e"
    assert message.reply_to == "pm-agent"
    assert message.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_sender_without_a_model_writes_the_canonical_bytes() -> None:
    given = facts("canonical")
    names = ("from_agent", "to_agent", "message_type", "priority", "ttl", "correlation_id", "reply_to", "traceparent")
    envelope = compose(
        **{name: given[name] for name in (*names, "message_id")},
        **given["body"],
        **given["delivery_options"],
    )._replace(timestamp=given["timestamp"])
    assert encode(envelope) == golden("canonical")


def test_the_short_message_is_read_and_written_as_it_was() -> None:
    message = Message.from_json(golden("short"))
    assert (message.message_id, message.from_agent, message.to_agent) == ("task-1", "pm-agent", "broadcast")
    assert (message.message_type, message.priority) == ("task_request", "medium")
    assert message.content == {"task": "build", "files": ["bus.py"]}
    assert message.timestamp == datetime.fromtimestamp(1699999999, UTC)
    assert json.dumps(message.to_short(), separators=(",", ":")).encode() == golden("short")


def test_the_short_message_has_one_canonical_form() -> None:
    assert Message.from_json(golden("short")).to_json() == (
        b'{"schema_version":1,"message_id":"task-1","from_agent":"pm-agent","to_agent":"broadcast",'
        b'"message_type":"task_request","priority":"medium","timestamp":"2023-11-14T22:13:19Z","ttl":null,'
        b'"body":{"content":{"task":"build","files":["bus.py"]},"context":{},"metadata":{}},'
        b'"delivery_options":{"require_ack":true,"max_retries":3,"retry_delay":30},'
        b'"correlation_id":null,"reply_to":null,"traceparent":null}'
    )


def test_what_an_older_sender_leaves_out_is_the_default() -> None:
    message = Message.from_json(golden("older_minor"))
    assert json.loads(message.to_json()) == {
        **facts("older_minor"),
        "delivery_options": {"require_ack": True, "max_retries": 3, "retry_delay": 30},
        "traceparent": None,
    }


def test_what_a_newer_sender_adds_is_kept_and_passed_on() -> None:
    assert Message.from_json(golden("newer_minor")).to_json() == golden("newer_minor")


def test_an_unknown_version_is_refused_and_named() -> None:
    # Its other fields may be wrong for us and right for it, so it is the version that is complained about.
    with pytest.raises(InvalidMessage, match="this hivebus reads version 1 to 1") as caught:
        Message.from_json(golden("unknown_version"))
    assert (caught.value.why, caught.value.value) == ("schema_version", "2")


async def test_an_unknown_version_in_an_inbox_is_a_dead_letter_and_the_next_message_is_read() -> None:
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    for name in ("unknown_version", *READABLE):
        await transport.publish([Outgoing("frontend-agent", name, "agent.frontend-agent.x", 2, 0, None, golden(name))])
    async with Bus("memory://", agent="frontend-agent") as bus:
        seen = [await bus.take(wait=5) for _ in READABLE]
    assert all(seen)
    (dead,) = await transport.dead("frontend-agent", limit=10)
    assert (dead.message_id, dead.reason) == ("unknown_version", "invalid:schema_version")
