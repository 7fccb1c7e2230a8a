"""The message that people hold: frozen, checked, with the two JSON shapes it may travel in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from hivebus import envelope, limits
from hivebus.errors import InvalidMessage
from hivebus.hops import hops_of

# Strict: "3" and true are no numbers. A whole number stays one, so that bytes survive a round trip.
Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]
# On each branch: bounds on a union are looked at by two calls of Python.
_delay = Field(strict=True, ge=0, le=limits.MAX_RETRY_DELAY)
RetryDelay = Annotated[int, _delay] | Annotated[float, _delay]
LEFT_TO_RIGHT = Field(union_mode="left_to_right")
# Patterns are looked at by pydantic itself, which takes a fifth of the time of a function of ours.
MessageId = Annotated[str, Field(pattern=f"^{limits.MESSAGE_ID_PATTERN}$")]
Name = Annotated[str, Field(pattern=f"^{limits.NAME_PATTERN}$")]
Type = Annotated[str, Field(pattern=f"^{limits.TYPE_PATTERN}$")]
# Nearly always one agent; the second branch is for everything else.
Address = Annotated[Name | Annotated[str | tuple[str, ...], AfterValidator(limits.check_address)], LEFT_TO_RIGHT]
_frozen = ConfigDict(frozen=True, extra="allow")


class Priority(StrEnum):
    """Five levels, handed out strictly from the top; 1 (low) to 5 (emergency) are accepted too."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"
    EMERGENCY = "emergency"

    @classmethod
    def _missing_(cls, value: object) -> Priority | None:
        try:
            return cls(limits.check_priority(value))
        except InvalidMessage:
            return None


class MessageType(StrEnum):
    """The well-known types; any other ``[a-z0-9][a-z0-9_.-]{0,62}`` is as good."""

    TASK_ASSIGNMENT = "task_assignment"
    TASK_UPDATE = "task_update"
    TASK_COMPLETION = "task_completion"
    TASK_CANCELLATION = "task_cancellation"
    COORDINATION_REQUEST = "coordination_request"
    COORDINATION_RESPONSE = "coordination_response"
    STATUS_UPDATE = "status_update"
    HEALTH_CHECK = "health_check"
    INFORMATION_SHARE = "information_share"
    QUESTION = "question"
    ANSWER = "answer"
    NOTIFICATION = "notification"
    AGENT_STARTED = "agent_started"
    AGENT_STOPPED = "agent_stopped"
    SYSTEM_ALERT = "system_alert"
    EMERGENCY = "emergency"
    TASK_REQUEST = "task_request"
    TASK_RESULT = "task_result"
    EVENT = "event"
    WORKFLOW_COMMAND = "workflow_command"


class Body(BaseModel):
    """What the message says: ``content`` is a string or any JSON value."""

    model_config = _frozen

    content: Any
    context: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class DeliveryOptions(BaseModel):
    """How the receiver's bus treats the message; may be given in part.

    Attributes:
        require_ack: whether it must be settled; without, it may travel fire-and-forget.
        max_retries: how often a failing handler gets it again before it is a dead letter.
        retry_delay: seconds before the first retry; each later one waits twice as long.
    """

    model_config = _frozen

    require_ack: bool = Field(default=True, strict=True)
    max_retries: int = Field(default=envelope.DEFAULT_MAX_RETRIES, strict=True, ge=0, le=limits.MAX_RETRIES)
    retry_delay: RetryDelay = envelope.DEFAULT_RETRY_DELAY


class Message(BaseModel):
    """One message between agents; needs only ``from_agent``, ``to_agent`` and ``body``.

    Unknown fields are kept and passed on. Anything outside the limits raises
    :class:`~hivebus.errors.InvalidMessage`, on both sides of the wire.

    Attributes:
        ttl: seconds until it expires, counted from its acceptance by the server; None is never.
        timestamp: the sender's clock when it was made; informative only.
        reply_to: the address for replies; None is ``from_agent``.
        correlation_id: the ``message_id`` of the message that this one answers.
        traceparent: W3C trace context of the sender.
    """

    model_config = _frozen

    schema_version: int = Field(default=limits.SCHEMA_VERSION, strict=True, ge=1, le=limits.SCHEMA_VERSION)
    message_id: MessageId = Field(default_factory=envelope.new_message_id)
    from_agent: Name
    to_agent: Address
    message_type: Type = envelope.DEFAULT_TYPE
    priority: Priority = Priority.MEDIUM
    timestamp: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    ttl: Annotated[Number, AfterValidator(limits.check_ttl)] | None = None
    body: Body
    delivery_options: DeliveryOptions = Field(default_factory=DeliveryOptions)
    correlation_id: MessageId | None = None
    reply_to: Annotated[str, AfterValidator(envelope.check_reply_to)] | None = None
    traceparent: Annotated[str, AfterValidator(limits.check_traceparent)] | None = None

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise invalid(error) from None

    # Tells pydantic that validation need not call this `__init__`: decoding is twice as fast.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @property
    def content(self) -> Any:
        """What the message says: ``body.content``."""
        return self.body.content

    @property
    def replay_of(self) -> str | None:
        """The id of the message that this one repeats; None when it repeats none."""
        found = (self.model_extra or {}).get("replay_of")
        return found if isinstance(found, str) else None

    @property
    def hops(self) -> int:
        """How many messages led to this one, each answering another or sent because of it."""
        return hops_of(self)

    @property
    def rerouted_from(self) -> str | None:
        """The agent in whose place this inbox got the message, because it was gone; None for no such detour."""
        found = (self.model_extra or {}).get("rerouted_from")
        return found if isinstance(found, str) else None

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Return the message in *data*, in the canonical or the short shape, or raise `InvalidMessage`."""
        try:
            message: Self = cls.__pydantic_validator__.validate_json(data)
        except ValidationError as error:
            message = cls.from_short(_short_shape(data, error))
        body = message.body
        # A text nests nowhere: the usual message need not be searched.
        if type(body.content) is not str or body.context or body.metadata or message.has_extra:
            message.check_content()
        return message

    @classmethod
    def from_short(cls, short: Mapping[str, Any]) -> Self:
        """Return the message in ``{"id", "from", "to", "type", "payload", "timestamp"}``.

        Only ``from``, ``to`` and ``payload`` must be there. A payload of ``content``, ``context`` and
        ``metadata`` is taken as the body, any other payload as its content. Other keys are kept.
        """
        rest = {key: value for key, value in short.items() if key not in _SHORT_KEYS}
        for key, name in _SHORT_KEYS.items():
            if key in short and key != "payload":
                rest[name] = short[key]
        if "payload" in short:
            rest["body"] = _body(short["payload"])
        message = cls(**rest)
        message.check_content()
        return message

    def to_short(self) -> dict[str, Any]:
        """Return the six facts of the short shape; priority, ttl and the other options stay behind."""
        return {
            "id": self.message_id,
            "from": self.from_agent,
            "to": "broadcast" if self.to_agent == "*" else self.to_agent,
            "type": self.message_type,
            "payload": _payload(self.body),
            "timestamp": int(self.timestamp.timestamp()),
        }

    def to_json(self) -> bytes:
        """Return the canonical JSON, whatever its size."""
        return type(self).__pydantic_serializer__.to_json(self)

    def replace(self, /, **changes: Any) -> Self:
        """Return a checked copy with *changes*; what middleware uses to change a message."""
        return type(self)(**{**dict(self), **(self.model_extra or {}), **changes})

    @property
    def has_extra(self) -> bool:
        """Whether the message carries fields that this release does not know."""
        extra = self.__pydantic_extra__ or self.body.__pydantic_extra__ or self.delivery_options.__pydantic_extra__
        return bool(extra)

    def check_content(self) -> None:
        """Raise `InvalidMessage` for a body that JSON cannot hold or that nests too deep."""
        limits.check_json(self.body.content, field="body.content")
        limits.check_mapping(self.body.context, field="body.context")
        limits.check_mapping(self.body.metadata, field="body.metadata")
        for extra in (self.model_extra, self.body.model_extra, self.delivery_options.model_extra):
            for name, value in (extra or {}).items():
                limits.check_json(value, field=name)


def message_of(facts: envelope.Envelope) -> Message:
    """Return the message that an envelope encodes."""
    return Message.from_json(envelope.encode(facts, limit=limits.MAX_ENCODED_CEILING))


def invalid(error: ValidationError) -> InvalidMessage:
    """Return the first finding of pydantic as ours."""
    finding = error.errors(include_url=False)[0]
    if finding["type"] == "json_invalid":
        return InvalidMessage(field="message", value=finding["input"], rule=finding["msg"], why="json")
    if finding["loc"] == ("schema_version",):
        # The first field, so the first finding: what else is wrong with it may be right in its version.
        return InvalidMessage(field="schema_version", value=finding["input"], rule=limits.VERSION_RULE)
    path = ".".join(str(part) for part in finding["loc"] if part not in _UNION_BRANCHES) or "message"
    if finding["type"] == "string_pattern_mismatch" and path in _PATTERN_RULES:
        return InvalidMessage(field=path, value=finding["input"], rule=_PATTERN_RULES[path])
    if path == "delivery_options.retry_delay":
        # Of two branches that say no, neither says what the rule is.
        return _refused(limits.check_retry_delay, finding["input"])
    if finding["type"] == "missing":
        return InvalidMessage(field=path, value=None, rule="is missing; a message needs from_agent, to_agent and body")
    return InvalidMessage(field=path, value=finding["input"], rule=finding["msg"])


def _refused(check: Callable[[object], object], value: object) -> InvalidMessage:
    try:
        check(value)
    except InvalidMessage as error:
        return error
    raise AssertionError(f"pydantic refuses {value!r}, and {check.__name__} does not")


_PATTERN_RULES = {
    "message_id": limits.MESSAGE_ID_RULE,
    "correlation_id": limits.MESSAGE_ID_RULE,
    "from_agent": limits.NAME_RULE,
    "message_type": limits.TYPE_RULE,
}
_SHORT_KEYS = {
    "id": "message_id",
    "from": "from_agent",
    "to": "to_agent",
    "type": "message_type",
    "payload": "body",
    "timestamp": "timestamp",
}
_BODY_KEYS = {"content", "context", "metadata"}
_UNION_BRANCHES = {"str", "int", "float", "tuple[str, ...]", "constrained-str", "constrained-int", "constrained-float"}


def _short_shape(data: bytes | str, error: ValidationError) -> Mapping[str, Any]:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        raise invalid(error) from None
    if not isinstance(parsed, dict) or "from" not in parsed or "from_agent" in parsed:
        raise invalid(error)
    return parsed


def _body(payload: Any) -> Any:
    if isinstance(payload, dict) and "content" in payload and payload.keys() <= _BODY_KEYS:
        return payload
    return {"content": payload}


def _payload(body: Body) -> Any:
    if isinstance(body.content, dict) and "content" not in body.content and not (body.context or body.metadata):
        return body.content
    parts = {"content": body.content, "context": body.context, "metadata": body.metadata}
    return {key: value for key, value in parts.items() if key == "content" or value}
