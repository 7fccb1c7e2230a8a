"""Replies: back to who asked, in the same conversation, once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from hivebus.envelope import Envelope
from hivebus.message import Message, message_of
from hivebus.replies import compose_reply, is_reply


def question(**changes: Any) -> Message:
    given = {"from_agent": "pm", "to_agent": "dev", "body": {"content": "?"}, "message_id": "question-1", **changes}
    return Message(**given)


def answer(message: Message, **options: Any) -> Envelope:
    return compose_reply(message, "Yes.", from_agent="dev", **options)


def test_a_reply_goes_back_to_who_asked_in_the_same_conversation() -> None:
    reply = answer(question(priority="urgent", traceparent="00-1"))
    assert (reply.from_agent, reply.to_agent, reply.content) == ("dev", "pm", "Yes.")
    assert (reply.correlation_id, reply.priority, reply.traceparent) == ("question-1", "urgent", "00-1")


def test_a_reply_goes_where_the_question_wants_it() -> None:
    assert answer(question(reply_to="pm~1f")).to_agent == "pm~1f"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("question", "answer"),
        ("task_request", "task_result"),
        ("task_assignment", "task_completion"),
        ("coordination_request", "coordination_response"),
        ("information_share", "answer"),
    ],
)
def test_the_type_of_a_reply_follows_from_the_question(asked: str, answered: str) -> None:
    assert answer(question(message_type=asked)).message_type == answered


def test_the_type_of_a_reply_may_be_given() -> None:
    assert answer(question(), message_type="task_update").message_type == "task_update"


def test_the_id_of_a_reply_follows_from_the_question_and_who_answers() -> None:
    first, again = answer(question()), answer(question())
    assert first.message_id == again.message_id
    assert UUID(first.message_id).version == 5
    other = compose_reply(question(), "Yes.", from_agent="ops")
    another = answer(question(message_id="question-2"))
    assert len({first.message_id, other.message_id, another.message_id}) == 3


def test_a_reply_is_known_as_one() -> None:
    assert not is_reply(question())
    assert is_reply(message_of(answer(question())))
    assert is_reply(question(correlation_id="m-1", reply_to="pm"))


def test_a_question_in_a_conversation_is_no_reply_while_somebody_waits_for_its_answer() -> None:
    assert not is_reply(question(correlation_id="m-1", reply_to="pm~1f"))
