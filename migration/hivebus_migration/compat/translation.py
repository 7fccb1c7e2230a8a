"""Between the messages of before and those of hivebus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hivebus import Message, MessageType
from hivebus_migration.compat.message_protocol import (
    AgentMessage,
    DeliveryOptions,
    MessagePriority,
    is_id_of_answered,
)

STATUS_WORDS = {
    "scheduled": "pending",
    "queued": "pending",
    "delivered": "delivered",
    "retrying": "delivered",
    "acknowledged": "acknowledged",
    "dead_lettered": "failed",
    "cancelled": "failed",
    "expired": "expired",
}
"""The words of before for the states of hivebus; what it does not know has no status."""

_SAYS = ("content", "task_description", "alert_message", "status")
"""Where bodies of before have what they say; the first that is there."""


def to_message(message: AgentMessage, *, name_of: Callable[[str], str]) -> Message:
    """Return the message that travels; *name_of* resolves legacy names.

    Raises:
        InvalidMessage: a limit is broken.
    """
    options = message.delivery_options
    delivery: dict[str, Any] = {
        "require_ack": options.require_ack and options.persistent,
        "max_retries": options.max_retries,
        "retry_delay": options.retry_delay_seconds,
    }
    if not options.persistent:
        delivery["persistent"] = False
    answers = is_id_of_answered(message)
    return Message(
        message_id=message.message_id,
        from_agent=name_of(message.from_agent),
        to_agent=name_of(message.to_agent),
        message_type=message.message_type.value,
        priority=message.priority.value,
        timestamp=message.timestamp,
        ttl=options.ttl_seconds or None,
        body=_body(message),
        delivery_options=delivery,
        correlation_id=message.correlation_id,
        reply_to=None if answers or message.reply_to is None else name_of(message.reply_to),
        **({"hops": message.hops} if message.hops else {}),
    )


def from_message(message: Message, *, agent: str) -> AgentMessage:
    """Return the message as a handler of before gets it; *agent* is whose inbox it came from."""
    options = message.delivery_options
    persistent = bool((options.model_extra or {}).get("persistent", True))
    received = AgentMessage(
        from_agent=message.from_agent,
        to_agent=_recipient(message, agent=agent),
        message_type=message_type_of(message.message_type),
        body=_old_body(message),
        message_id=message.message_id,
        timestamp=message.timestamp,
        priority=MessagePriority[message.priority.name],
        correlation_id=message.correlation_id,
        reply_to=message.reply_to or message.correlation_id,
        delivery_options=DeliveryOptions(
            require_ack=options.require_ack or not persistent,
            max_retries=options.max_retries,
            retry_delay_seconds=options.retry_delay,
            ttl_seconds=message.ttl or 0,
            persistent=persistent,
        ),
        metadata=dict(message.body.metadata),
    )
    hops = (message.model_extra or {}).get("hops")
    received.hops = hops if type(hops) is int and hops > 0 else 0
    return received


def message_type_of(name: str) -> MessageType:
    """Return the member, or one that is none of the well-known: an agent may be sent any type.

    It has a ``value`` as they have, and compares as they do; ``MessageType(name)`` is a `ValueError` all the same.
    """
    try:
        return MessageType(name)
    except ValueError:
        other = str.__new__(MessageType, name)
        other._name_, other._value_ = name.upper(), name
        return other


def _body(message: AgentMessage) -> dict[str, Any]:
    body = dict(message.body)
    context = body.pop("context", None) or {}
    said = body.pop("metadata", None) or {}
    metadata = {**message.metadata, **said} if isinstance(said, Mapping) else said
    content = next((body[name] for name in _SAYS if body.get(name) is not None), None)
    if content is None:
        # Nothing in it says more than the rest: all of it is what the message says.
        content, body = body, {}
    return {**body, "content": content, "context": context, "metadata": metadata}


def _old_body(message: Message) -> dict[str, Any]:
    body, content = message.body, message.body.content
    parts = content if isinstance(content, dict) else {}
    return {**parts, **(body.model_extra or {}), "content": content, "context": dict(body.context)}


def _recipient(message: Message, *, agent: str) -> str:
    if message.to_agent == "*":
        return "broadcast"
    return message.to_agent if isinstance(message.to_agent, str) else agent
