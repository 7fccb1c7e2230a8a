"""Messages: what people hold, in both shapes that travel."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from hivebus.errors import InvalidMessage
from hivebus.message import Body, DeliveryOptions, Message, MessageType, Priority

CANONICAL: dict[str, Any] = {
    "schema_version": 1,
    "message_id": "3f0c2a4e-7d2f-4b9a-8a57-0d5b6c1e2f90",
    "from_agent": "pm-agent",
    "to_agent": "frontend-agent",
    "message_type": "task_assignment",
    "priority": "high",
    "timestamp": "2025-07-16T12:35:00Z",
    "ttl": 3600,
    "body": {"content": "Implement message bus", "context": {}, "metadata": {}},
    "delivery_options": {"require_ack": True, "max_retries": 3, "retry_delay": 30},
    "correlation_id": None,
    "reply_to": None,
    "traceparent": None,
}
SHORT: dict[str, Any] = {
    "id": "task-1",
    "from": "pm-agent",
    "to": "frontend-agent",
    "type": "task_request",
    "payload": {"task": "build"},
    "timestamp": 1699999999,
}


def message(**changes: Any) -> Message:
    return Message(**{"from_agent": "pm-agent", "to_agent": "frontend-agent", "body": {"content": "hello"}, **changes})


def read(value: Any) -> Message:
    return Message.from_json(value if isinstance(value, bytes) else json.dumps(value))


def refused(value: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        read(value)
    return caught.value


# --- The canonical shape -----------------------------------------------------------------------------


def test_the_canonical_shape_is_read_and_written_as_it_is() -> None:
    data = json.dumps(CANONICAL, separators=(",", ":")).encode()
    assert read(data).to_json() == data
    assert Message.from_json(data.decode()).to_json() == data


def test_only_sender_recipient_and_body_are_needed() -> None:
    made = message()
    assert UUID(made.message_id).version == 4
    assert (made.message_type, made.priority, made.ttl) == ("information_share", "medium", None)
    assert (made.body.context, made.body.metadata) == ({}, {})
    assert (made.correlation_id, made.reply_to, made.traceparent) == (None, None, None)
    assert made.delivery_options == DeliveryOptions(require_ack=True, max_retries=3, retry_delay=30)
    assert (datetime.now(UTC) - made.timestamp).total_seconds() < 60
    assert made.content == "hello"


def test_two_messages_do_not_share_their_defaults() -> None:
    assert message().message_id != message().message_id
    assert message().body.context is not message().body.context


def test_delivery_options_may_be_given_in_part() -> None:
    assert message(delivery_options={"max_retries": 0}).delivery_options.retry_delay == 30


@pytest.mark.parametrize("missing", ["from_agent", "to_agent", "body"])
def test_without_what_is_needed_there_is_no_message(missing: str) -> None:
    error = refused({name: value for name, value in CANONICAL.items() if name != missing})
    assert error.field == missing
    assert "is missing" in error.rule


def test_a_priority_may_be_a_number() -> None:
    assert [read({**CANONICAL, "priority": each}).priority for each in (1, 2, 3, 4, 5)] == list(Priority)
    assert message(priority=Priority.URGENT).to_json().count(b'"urgent"') == 1


def test_a_type_need_not_be_well_known() -> None:
    assert message(message_type=MessageType.QUESTION).message_type == "question"
    assert message(message_type="my.own-type_2").message_type == "my.own-type_2"


def test_there_are_twenty_well_known_types() -> None:
    assert len(MessageType) == 20
    for each in MessageType:
        assert message(message_type=each).message_type == each.value


@pytest.mark.parametrize("content", ["text", "", None, 0, 1.5, True, [], {"a": [{"b": None}]}])
def test_content_is_any_json_value(content: Any) -> None:
    again = read(message(body={"content": content}).to_json())
    assert again.content == content
    assert type(again.content) is type(content)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"from_agent": "PM"}, "from_agent"),
        ({"to_agent": "No Such Name"}, "to_agent"),
        ({"to_agent": []}, "to_agent"),
        ({"to_agent": ["dev", 1]}, "to_agent"),
        ({"message_id": "no id"}, "message_id"),
        ({"message_id": 7}, "message_id"),
        ({"message_type": "No Type"}, "message_type"),
        ({"priority": "critical"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": []}, "priority"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2025-07-16T12:35:00"}, "timestamp"),
        ({"ttl": "60"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"body": "text"}, "body"),
        ({"body": {}}, "body.content"),
        ({"body": {"content": "x", "context": []}}, "body.context"),
        ({"delivery_options": {"max_retries": -1}}, "delivery_options.max_retries"),
        ({"delivery_options": {"max_retries": "3"}}, "delivery_options.max_retries"),
        ({"delivery_options": {"retry_delay": 86_401}}, "delivery_options.retry_delay"),
        ({"delivery_options": {"retry_delay": float("nan")}}, "delivery_options.retry_delay"),
        ({"delivery_options": {"require_ack": "yes"}}, "delivery_options.require_ack"),
        ({"correlation_id": "no id"}, "correlation_id"),
        ({"reply_to": "*"}, "reply_to"),
        ({"traceparent": "a\nb"}, "traceparent"),
        *(({"schema_version": version}, "schema_version") for version in (2, 0, -1, True, 1.0, "1", None)),
    ],
)
def test_what_breaks_a_limit_is_refused_on_both_sides_of_the_wire(change: dict[str, Any], field: str) -> None:
    assert refused({**CANONICAL, **change}).field == field
    with pytest.raises(InvalidMessage) as caught:
        Message(**{**CANONICAL, **change})
    assert caught.value.field == field


def test_of_a_newer_version_it_is_the_version_that_is_complained_about() -> None:
    error = refused({"schema_version": 2, "sender": "pm-agent"})
    assert (error.field, error.value) == ("schema_version", "2")
    assert "a newer sender needs a newer reader" in error.rule


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b'{"from_agent":',
        b"[" * 100_000,
        b'{"from":"a","to":"b","payload":' + b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_an_invalid_message_and_nothing_else(data: bytes) -> None:
    assert refused(data).why == "json"


@pytest.mark.parametrize("data", [b"null", b"[]", b"1", b'"text"'])
def test_what_is_no_object_is_an_invalid_message(data: bytes) -> None:
    assert refused(data).field == "message"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"content":NaN}', "body.content"),
        (b'{"content":{"a":[Infinity]}}', "body.content.a[0]"),
        (b'{"content":"x","context":{"a":-Infinity}}', "body.context.a"),
        (b'{"content":"x","metadata":{"a":NaN}}', "body.metadata.a"),
        (b'{"content":"x","more":NaN}', "more"),
        (b'{"content":' + b"[" * 31 + b"]" * 31 + b"}", "too_deep"),
        (b'{"content":"x","context":{"a":' + b"[" * 31 + b"]" * 31 + b"}}", "too_deep"),
        (b'{"content":"\\ud800"}', "json"),
        (b'{"content":' + b"9" * 5000 + b"}", "json"),
    ],
)
def test_a_body_that_json_cannot_hold_or_that_is_too_deep_is_refused(body: bytes, why: str) -> None:
    assert refused(b'{"from_agent":"a","to_agent":"b","body":' + body + b"}").why == why


def test_the_deepest_body_that_may_be_sent_may_be_read() -> None:
    assert read(b'{"from_agent":"a","to_agent":"b","body":{"content":' + b"[" * 30 + b"]" * 30 + b"}}").content


def test_a_body_that_no_json_can_hold_is_found_before_it_is_written() -> None:
    with pytest.raises(InvalidMessage, match="JSON has no set"):
        message(body={"content": {1, 2}}).check_content()


# --- What a newer sender knows -------------------------------------------------------------------------


def test_unknown_fields_are_kept_and_passed_on() -> None:
    newer = {
        **CANONICAL,
        "shard": 7,
        "body": {**CANONICAL["body"], "format": "markdown"},
        "delivery_options": {**CANONICAL["delivery_options"], "deadline": [1, 2]},
    }
    received = read(newer)
    assert received.has_extra and not read(CANONICAL).has_extra
    assert json.loads(received.to_json()) == newer
    changed = json.loads(received.replace(priority="low").to_json())
    assert changed == {**newer, "priority": "low"}


@pytest.mark.parametrize("name", ["self", "data", "to_json", "content", "model_config", "__class__", "__dict__"])
def test_an_unknown_field_may_have_any_name(name: str) -> None:
    for sent in ({**CANONICAL, name: "kept"}, {**SHORT, name: "kept"}):
        received = read(sent)
        assert json.loads(received.to_json())[name] == "kept"
        assert json.loads(received.replace(priority="low").to_json())[name] == "kept"


@pytest.mark.parametrize("where", ["top", "body", "delivery_options"])
def test_an_unknown_field_keeps_the_limits_too(where: str) -> None:
    deep: Any = "x"
    for _ in range(33):
        deep = [deep]
    sent = {**CANONICAL, "more": deep} if where == "top" else {**CANONICAL, where: {**CANONICAL[where], "more": deep}}
    assert refused(sent).why == "too_deep"


def test_an_unknown_field_with_a_name_that_cannot_be_written_is_refused() -> None:
    assert "unicode" in refused(b'{"from":"a","to":"b","payload":1,"\\ud800":1}').rule


# --- Frozen, and how to change it all the same -----------------------------------------------------------


def test_a_message_is_frozen() -> None:
    made = message()
    for part, name in ((made, "priority"), (made.body, "content"), (made.delivery_options, "max_retries")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, "low")


def test_replace_returns_a_checked_copy() -> None:
    first = message()
    second = first.replace(priority="high", body={"content": "changed"})
    assert (first.priority, first.content) == ("medium", "hello")
    assert (second.priority, second.content, second.message_id) == ("high", "changed", first.message_id)
    with pytest.raises(InvalidMessage, match="to_agent"):
        first.replace(to_agent="No Name")


# --- The short shape -----------------------------------------------------------------------------------


def test_the_short_shape_is_read_wherever_a_message_is_read() -> None:
    received = read(SHORT)
    assert (received.message_id, received.from_agent, received.to_agent) == ("task-1", "pm-agent", "frontend-agent")
    assert (received.message_type, received.content) == ("task_request", {"task": "build"})
    assert received.timestamp == datetime.fromtimestamp(1699999999, UTC)
    assert received == Message.from_short(SHORT)


def test_the_short_shape_is_written_as_it_was_read() -> None:
    assert read(SHORT).to_short() == SHORT
    everyone = {**SHORT, "to": "broadcast"}
    assert read(everyone).to_short() == everyone
    assert message(to_agent="*").to_short()["to"] == "broadcast"


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ("text", Body(content="text")),
        (None, Body(content=None)),
        ({"task": 1}, Body(content={"task": 1})),
        ({"content": "text"}, Body(content="text")),
        ({"content": "text", "context": {"a": 1}}, Body(content="text", context={"a": 1})),
        ({"content": "text", "other": 1}, Body(content={"content": "text", "other": 1})),
        ({"context": {"a": 1}}, Body(content={"context": {"a": 1}})),
    ],
)
def test_a_payload_is_a_body_when_it_looks_like_one_and_else_its_content(payload: Any, body: Body) -> None:
    received = read({"from": "pm-agent", "to": "frontend-agent", "payload": payload})
    assert received.body == body
    assert Message.from_short(received.to_short()).body == body


def test_the_short_shape_needs_sender_recipient_and_payload() -> None:
    assert refused({"from": "a", "payload": 1}).field == "to_agent"
    assert refused({"from": "a", "to": "b"}).field == "body"
    assert refused({"to": "b", "payload": 1}).field == "from_agent"


def test_the_short_shape_keeps_the_limits() -> None:
    assert refused({**SHORT, "to": "No Name"}).field == "to_agent"
    assert refused({**SHORT, "timestamp": "yesterday"}).field == "timestamp"
    assert refused({**SHORT, "timestamp": 1e300}).field == "timestamp"
    assert refused({**SHORT, "payload": {"a": float("nan")}}).field == "body.content.a"
    assert refused(json.dumps({**SHORT, "payload": "\ud800"}).encode()).field == "body.content"


def test_what_has_both_shapes_is_judged_as_the_canonical_one() -> None:
    assert refused({**SHORT, "from_agent": "a"}).field == "to_agent"
