"""The messages of before: what old code makes, reads, and compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Self
from uuid import uuid4

from hivebus import MessageType


class MessagePriority(Enum):
    """Five levels; the highest is handed out first, also when it was sent last."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    URGENT = 4
    EMERGENCY = 5


@dataclass
class DeliveryOptions:
    """How a message is treated.

    Attributes:
        require_ack: whether it comes again until it was handled.
        max_retries: how often a handler that raises gets it again, before it is a dead letter.
        retry_delay_seconds: before the first of these; each later one waits twice as long.
        ttl_seconds: after which it expires unread; 0 or None for never.
        persistent: False hands it out once, whatever becomes of it then.
    """

    require_ack: bool = True
    max_retries: int = 3
    retry_delay_seconds: float = 30
    ttl_seconds: float | None = 3600
    persistent: bool = True


@dataclass
class AgentMessage:
    """One message between agents.

    Attributes:
        body: anything JSON; what is received always has ``body["content"]`` and ``body["context"]``.
        reply_to: in a reply, the id of the message that it answers; otherwise the address for replies, or None.

    Raises:
        ValueError: sender, recipient or body is empty, or there is no such priority.
    """

    from_agent: str
    to_agent: str
    message_type: MessageType
    body: dict[str, Any]
    message_id: str = field(default_factory=lambda: str(uuid4()))
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    priority: MessagePriority = MessagePriority.MEDIUM
    correlation_id: str | None = None
    reply_to: str | None = None
    delivery_options: DeliveryOptions = field(default_factory=DeliveryOptions)
    metadata: dict[str, Any] = field(default_factory=dict)

    # How many messages led to it, each the answer to another. No field: those are what they were before.
    hops = 0

    def __post_init__(self) -> None:
        if not self.from_agent:
            raise ValueError("from_agent cannot be empty")
        if not self.to_agent:
            raise ValueError("to_agent cannot be empty")
        if not self.body:
            raise ValueError("message body cannot be empty")
        if not isinstance(self.message_type, MessageType):
            self.message_type = MessageType(self.message_type)
        self.priority = priority_of(self.priority)
        if self.timestamp.tzinfo is None:
            self.timestamp = self.timestamp.replace(tzinfo=UTC)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        facts = {each.name: getattr(self, each.name) for each in fields(self)}
        return facts | {
            "message_type": self.message_type.value,
            "priority": self.priority.value,
            "timestamp": self.timestamp.isoformat(),
            "delivery_options": asdict(self.delivery_options),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the message that `to_dict` wrote; *data* stays as it is.

        Raises:
            ValueError: a value is none that the field may have.
            TypeError: a field is missing, or there is one that no message has.
        """
        facts = dict(data)
        if isinstance(facts.get("timestamp"), str):
            facts["timestamp"] = datetime.fromisoformat(facts["timestamp"])
        if isinstance(facts.get("delivery_options"), Mapping):
            facts["delivery_options"] = DeliveryOptions(**facts["delivery_options"])
        return cls(**facts)

    def create_reply(self, body: dict[str, Any], message_type: MessageType | None = None) -> AgentMessage:
        """Return an answer to it: back to where replies shall go, on the same level, in the same conversation."""
        reply = AgentMessage(
            from_agent=self.to_agent,
            to_agent=self.from_agent if is_id_of_answered(self) else self.reply_to or self.from_agent,
            message_type=message_type or MessageType.ANSWER,
            body=body,
            correlation_id=self.message_id,
            reply_to=self.message_id,
            priority=self.priority,
        )
        reply.hops = self.hops + 1
        return reply

    def is_expired(self) -> bool:
        """Tell whether its time is over, by the clocks of its sender and of this machine."""
        seconds = self.delivery_options.ttl_seconds
        return bool(seconds) and datetime.now(UTC) > self.timestamp + timedelta(seconds=seconds or 0)


@dataclass
class MessageDeliveryStatus:
    """What had become of a message when `MessageBus.get_message_status` was asked.

    Attributes:
        status: pending, delivered (handed out, perhaps more than once), acknowledged, failed or expired.
        attempts: how often it was handed out.
        error_message: why it failed.
        last_attempt, acknowledged_at: None where no time is known, as on every status that the bus gives.
    """

    message_id: str
    status: str
    attempts: int = 0
    last_attempt: datetime | None = None
    error_message: str | None = None
    acknowledged_at: datetime | None = None

    def mark_delivered(self) -> None:
        """Say so in this record; nothing on the bus changes."""
        self._try("delivered")

    def mark_acknowledged(self) -> None:
        """Say so in this record; nothing on the bus changes."""
        self.status = "acknowledged"
        self.acknowledged_at = datetime.now(UTC)

    def mark_failed(self, error: str) -> None:
        """Say so in this record; nothing on the bus changes."""
        self._try("failed")
        self.error_message = error

    def mark_expired(self) -> None:
        """Say so in this record; nothing on the bus changes."""
        self.status = "expired"

    def _try(self, status: str) -> None:
        self.status = status
        self.attempts += 1
        self.last_attempt = datetime.now(UTC)


def create_task_assignment(
    from_agent: str,
    to_agent: str,
    task_description: str,
    priority: MessagePriority = MessagePriority.MEDIUM,
    deadline: str | None = None,
    context: dict[str, Any] | None = None,
) -> AgentMessage:
    """Return a task for another agent."""
    body = {"task_description": task_description, "deadline": deadline, "context": context or {}}
    return AgentMessage(from_agent, to_agent, MessageType.TASK_ASSIGNMENT, body, priority=priority)


def create_status_update(
    from_agent: str,
    to_agent: str,
    status: str,
    progress: int | None = None,
    details: dict[str, Any] | None = None,
) -> AgentMessage:
    """Return a report, on the lowest level."""
    body = {"status": status, "progress": progress, "details": details or {}}
    return AgentMessage(from_agent, to_agent, MessageType.STATUS_UPDATE, body, priority=MessagePriority.LOW)


def create_emergency_alert(
    from_agent: str,
    alert_message: str,
    affected_systems: list[str] | None = None,
    to_agent: str = "broadcast",
) -> AgentMessage:
    """Return an alert for everybody, on the highest level, that is of no use after five minutes."""
    body = {
        "alert_message": alert_message,
        "affected_systems": affected_systems or [],
        "requires_immediate_attention": True,
    }
    return AgentMessage(
        from_agent,
        to_agent,
        MessageType.EMERGENCY,
        body,
        priority=MessagePriority.EMERGENCY,
        delivery_options=DeliveryOptions(max_retries=5, retry_delay_seconds=10, ttl_seconds=300),
    )


def priority_of(value: object) -> MessagePriority:
    """Return the level for a member, its number or its name; raises `ValueError` for anything else."""
    if isinstance(value, str) and value.upper() in MessagePriority.__members__:
        return MessagePriority[value.upper()]
    return MessagePriority(value)


def is_id_of_answered(message: AgentMessage) -> bool:
    """Tell whether ``reply_to`` names the message that was answered, as in replies of before, and no address."""
    return message.reply_to is not None and message.reply_to == message.correlation_id


def answer_from(message: AgentMessage, *, agent: str, content: str, context: dict[str, Any] | None) -> AgentMessage:
    """Return the reply of *agent*, also to what was sent to everybody."""
    reply = message.create_reply({"content": content, "context": context or {}})
    reply.from_agent = agent
    return reply
