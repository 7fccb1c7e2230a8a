"""The messages of before: what they refuse, how they are written, and what they are on the way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hivebus
from hivebus_migration import compat
from hivebus_migration.compat import (
    AgentMessage,
    DeliveryOptions,
    MessageBusConfig,
    MessageDeliveryStatus,
    MessagePriority,
    MessageType,
    create_emergency_alert,
    create_status_update,
    create_task_assignment,
)
from hivebus_migration.compat.translation import STATUS_WORDS, from_message, message_type_of, to_message

PREDECESSORS_TYPES = (
    "task_assignment",
    "task_update",
    "task_completion",
    "task_cancellation",
    "coordination_request",
    "coordination_response",
    "status_update",
    "health_check",
    "information_share",
    "question",
    "answer",
    "notification",
    "agent_started",
    "agent_stopped",
    "system_alert",
    "emergency",
)
BODY = {"content": "x", "context": {}}


def message(**changes: Any) -> AgentMessage:
    facts: dict[str, Any] = {
        "from_agent": "a",
        "to_agent": "b",
        "message_type": MessageType.QUESTION,
        "body": dict(BODY),
    }
    return AgentMessage(**{**facts, **changes})


def there_and_back(sent: AgentMessage) -> AgentMessage:
    travelling = to_message(sent, name_of=lambda name: name)
    return from_message(hivebus.Message.from_json(travelling.to_json()), agent="b")


# --- The facts -------------------------------------------------------------------------------------------


def test_types_and_levels_have_the_values_of_before() -> None:
    for name in PREDECESSORS_TYPES:
        assert MessageType[name.upper()].value == name
    assert {each.name: each.value for each in MessagePriority} == {
        "LOW": 1,
        "MEDIUM": 2,
        "HIGH": 3,
        "URGENT": 4,
        "EMERGENCY": 5,
    }


@pytest.mark.parametrize("name", compat.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(compat, name).__name__ == name
    assert name in dir(compat)


def test_what_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Redis'"):
        compat.Redis  # noqa: B018


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"from_agent": ""}, "from_agent cannot be empty"),
        ({"to_agent": ""}, "to_agent cannot be empty"),
        ({"body": {}}, "message body cannot be empty"),
        ({"message_type": "no such type"}, "'no such type' is not a valid MessageType"),
        ({"priority": 6}, "6 is not a valid MessagePriority"),
        ({"priority": "highest"}, "'highest' is not a valid MessagePriority"),
    ],
)
def test_what_is_wrong_is_a_value_error_with_the_words_of_before(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        message(**changes)


def test_values_may_be_given_in_place_of_members() -> None:
    made = message(message_type="answer", priority="urgent", timestamp=datetime(2026, 1, 2, 3))  # noqa: DTZ001
    assert (made.message_type, made.priority) == (MessageType.ANSWER, MessagePriority.URGENT)
    assert message(priority=1).priority is MessagePriority.LOW
    assert made.timestamp == datetime(2026, 1, 2, 3, tzinfo=UTC)


def test_a_message_is_written_and_read_as_before() -> None:
    made = message(priority=MessagePriority.HIGH, metadata={"k": 1}, correlation_id="c", reply_to="r")
    facts = made.to_dict()
    assert facts == {
        "from_agent": "a",
        "to_agent": "b",
        "message_type": "question",
        "body": BODY,
        "message_id": made.message_id,
        "timestamp": made.timestamp.isoformat(),
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "delivery_options": {
            "require_ack": True,
            "max_retries": 3,
            "retry_delay_seconds": 30,
            "ttl_seconds": 3600,
            "persistent": True,
        },
        "metadata": {"k": 1},
    }
    written = json.loads(json.dumps(facts))
    assert AgentMessage.from_dict(written) == made
    # What was read from stays as it is, and may be read again.
    assert AgentMessage.from_dict(written) == made
    with pytest.raises(ValueError, match="from_agent cannot be empty"):
        AgentMessage.from_dict({**written, "from_agent": ""})
    with pytest.raises(TypeError, match="to_agent"):
        AgentMessage.from_dict({"from_agent": "a", "message_type": "question", "body": BODY})


def test_a_reply_goes_back_on_the_same_level() -> None:
    question = message(priority=MessagePriority.URGENT)
    reply = question.create_reply({"content": "y"})
    assert (reply.from_agent, reply.to_agent, reply.message_type) == ("b", "a", MessageType.ANSWER)
    assert (reply.correlation_id, reply.reply_to, reply.priority) == (
        question.message_id,
        question.message_id,
        MessagePriority.URGENT,
    )
    assert question.create_reply({"content": "y"}, MessageType.TASK_UPDATE).message_type == MessageType.TASK_UPDATE
    assert message(reply_to="c").create_reply({"content": "y"}).to_agent == "c"


def test_a_message_expires_by_its_own_time() -> None:
    old = datetime.now(UTC) - timedelta(seconds=61)
    assert message(timestamp=old, delivery_options=DeliveryOptions(ttl_seconds=60)).is_expired() is True
    assert message(timestamp=old, delivery_options=DeliveryOptions(ttl_seconds=70)).is_expired() is False
    assert message(timestamp=old, delivery_options=DeliveryOptions(ttl_seconds=0)).is_expired() is False


def test_helpers_make_what_they_made_before() -> None:
    task = create_task_assignment("a", "b", "build", priority=MessagePriority.HIGH, deadline="soon", context={"k": 1})
    assert task.body == {"task_description": "build", "deadline": "soon", "context": {"k": 1}}
    assert (task.message_type, task.priority) == (MessageType.TASK_ASSIGNMENT, MessagePriority.HIGH)
    status = create_status_update("a", "b", "busy", progress=50, details={"k": 1})
    assert status.body == {"status": "busy", "progress": 50, "details": {"k": 1}}
    assert (status.message_type, status.priority) == (MessageType.STATUS_UPDATE, MessagePriority.LOW)
    alert = create_emergency_alert("a", "fire", affected_systems=["db"])
    assert alert.body == {"alert_message": "fire", "affected_systems": ["db"], "requires_immediate_attention": True}
    assert (alert.to_agent, alert.message_type, alert.priority) == (
        "broadcast",
        MessageType.EMERGENCY,
        MessagePriority.EMERGENCY,
    )
    assert alert.delivery_options == DeliveryOptions(max_retries=5, retry_delay_seconds=10, ttl_seconds=300)


def test_a_status_that_old_code_makes_for_itself_behaves_as_before() -> None:
    status = MessageDeliveryStatus("m", "pending")
    status.mark_delivered()
    assert (status.status, status.attempts, status.last_attempt is None) == ("delivered", 1, False)
    status.mark_failed("why")
    assert (status.status, status.attempts, status.error_message) == ("failed", 2, "why")
    status.mark_acknowledged()
    assert (status.status, status.acknowledged_at is None) == ("acknowledged", False)
    status.mark_expired()
    assert status.status == "expired"


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_ttl": -1},
        {"retry_limit": "3"},
        {"max_connections": 0},
        {"batch_size": True},
        {"monitor_interval": None},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} cannot be {wrong[name]!r}: it must be a number of at least"):
        MessageBusConfig(**wrong)


# --- On the way ------------------------------------------------------------------------------------------


def test_every_state_but_unknown_has_a_word_of_before() -> None:
    from typing import get_args

    from hivebus.transport import State

    assert {*STATUS_WORDS, "unknown"} == set(get_args(State))
    assert set(STATUS_WORDS.values()) == {"pending", "delivered", "acknowledged", "failed", "expired"}


@given(
    content=st.text(),
    context=st.dictionaries(st.text(), st.integers()),
    metadata=st.dictionaries(st.text(), st.text()),
    priority=st.sampled_from(MessagePriority),
    kind=st.sampled_from([MessageType(each) for each in PREDECESSORS_TYPES]),
    options=st.builds(
        DeliveryOptions,
        require_ack=st.booleans(),
        max_retries=st.integers(0, 1000),
        retry_delay_seconds=st.integers(0, 86_400),
        ttl_seconds=st.integers(0, 100_000),
    ),
)
def test_a_message_arrives_as_it_was_sent(
    content: str,
    context: dict[str, int],
    metadata: dict[str, str],
    priority: MessagePriority,
    kind: MessageType,
    options: DeliveryOptions,
) -> None:
    sent = message(
        body={"content": content, "context": context},
        metadata=metadata,
        priority=priority,
        message_type=kind,
        delivery_options=options,
    )
    assert there_and_back(sent) == sent


def test_options_become_those_of_hivebus() -> None:
    options = DeliveryOptions(max_retries=5, retry_delay_seconds=10, ttl_seconds=300)
    made = to_message(message(delivery_options=options), name_of=lambda name: name)
    assert (made.ttl, made.delivery_options.max_retries, made.delivery_options.retry_delay) == (300, 5, 10)
    assert made.delivery_options.require_ack is True
    once = message(delivery_options=DeliveryOptions(persistent=False, ttl_seconds=0))
    made = to_message(once, name_of=lambda name: name)
    assert (made.ttl, made.delivery_options.require_ack) == (None, False)
    assert there_and_back(once) == once


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ({"task_description": "build", "deadline": None, "context": {}}, "build"),
        ({"status": "busy", "progress": 5, "details": {}}, "busy"),
        ({"alert_message": "fire", "affected_systems": []}, "fire"),
        ({"content": {"a": [1]}}, {"a": [1]}),
        ({"anything": 1, "else": [2]}, {"anything": 1, "else": [2]}),
        ({"anything": 1, "context": {"k": 1}}, {"anything": 1}),
    ],
)
def test_every_body_keeps_its_keys_and_says_something(body: dict[str, Any], content: object) -> None:
    got = there_and_back(message(body=body)).body
    assert got["content"] == content
    assert {name: got[name] for name in body} == body
    assert "context" in got


def test_metadata_of_message_and_body_come_together() -> None:
    sent = message(body={"content": "x", "metadata": {"a": 1}}, metadata={"b": 2, "a": 0})
    assert there_and_back(sent).metadata == {"a": 1, "b": 2}
    with pytest.raises(hivebus.HivebusError, match="metadata"):
        to_message(message(body={"content": "x", "metadata": "a"}), name_of=lambda name: name)


def test_a_type_of_hivebus_that_was_not_known_before_arrives_too() -> None:
    other = hivebus.Message(from_agent="a", to_agent=["b", "c"], message_type="deploy.done", body={"content": {"k": 1}})
    got = from_message(other, agent="c")
    assert (got.message_type.value, got.message_type, got.message_type.name) == ("deploy.done",) * 2 + ("DEPLOY.DONE",)
    assert isinstance(got.message_type, MessageType)
    assert got.message_type == message_type_of("deploy.done") != MessageType.QUESTION
    assert f"{got.message_type}" == "deploy.done"
    assert (got.to_agent, got.body["k"]) == ("c", 1)
    # Passed on, it is what it was.
    assert there_and_back(message(message_type=got.message_type)).message_type.value == "deploy.done"
    assert "deploy.done" not in [each.value for each in MessageType]


def test_a_message_to_everybody_says_so_as_before() -> None:
    for everybody in ("*", "broadcast"):
        told = hivebus.Message(from_agent="a", to_agent=everybody, body={"content": "x"})
        assert from_message(told, agent="c").to_agent == "broadcast"


def test_answers_count_how_many_messages_led_to_them() -> None:
    turn = there_and_back(message())
    for hops in range(1, 4):
        turn = there_and_back(turn.create_reply({"content": "y"}))
        assert turn.hops == hops
        assert (to_message(turn, name_of=lambda name: name).model_extra or {})["hops"] == hops
    assert "hops" not in turn.to_dict()
    for nonsense in ("many", -1, True, 1.5):
        told = hivebus.Message(from_agent="a", to_agent="b", body={"content": "x"}, hops=nonsense)
        assert from_message(told, agent="b").hops == 0
