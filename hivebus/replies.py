"""What a handler's return value becomes: a reply that travels inside the ack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from hivebus.address import is_temporary
from hivebus.envelope import Envelope, compose
from hivebus.hops import hops_of

if TYPE_CHECKING:
    from hivebus.message import Message

REPLY_TYPES = {
    "question": "answer",
    "task_request": "task_result",
    "task_assignment": "task_completion",
    "coordination_request": "coordination_response",
}
_NAMESPACE = UUID("b1f7a9a4-6f0e-5b0c-9d53-6a3d1c2e7f10")


def compose_reply(message: Message, content: Any, *, from_agent: str, message_type: str | None = None) -> Envelope:
    """Return the reply to *message*: same conversation, back to who asked.

    Its id follows from the id of the question, so that a handler that runs twice replies once.
    """
    return compose(
        from_agent=from_agent,
        to_agent=message.reply_to or message.from_agent,
        content=content,
        message_type=message_type or REPLY_TYPES.get(message.message_type, "answer"),
        priority=message.priority,
        correlation_id=message.message_id,
        message_id=str(uuid5(_NAMESPACE, f"{message.message_id}/{from_agent}")),
        traceparent=message.traceparent,
        hops=hops_of(message) + 1,
    )


def is_reply(message: Message) -> bool:
    """Tell whether *message* answers another; what its handler returns is then not sent.

    One whose sender waits for an answer is a question of its own, also within a conversation.
    """
    return message.correlation_id is not None and not is_temporary(message.reply_to or "")
