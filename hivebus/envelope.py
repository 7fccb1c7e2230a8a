"""A message on its way out: checked facts and their canonical bytes, without a model.

`hivebus send` starts a process per message, and a bus may send ten thousand a second; both
compose an `Envelope` and encode it. `hivebus.message.Message` is the same thing for people to hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import JSONEncoder, encode_basestring
from typing import Any, NamedTuple

from hivebus import limits
from hivebus.errors import InvalidMessage

DEFAULT_TYPE = "information_share"
DEFAULT_PRIORITY = "medium"
DEFAULT_MAX_RETRIES = 3
DEFAULT_RETRY_DELAY = 30

NOTHING: Mapping[str, Any] = {}
_encode_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Envelope(NamedTuple):
    """The facts of one message, checked against `hivebus.limits`.

    A named tuple, because it is made once per message on the send path and a frozen dataclass
    costs three times as much to make.
    """

    message_id: str
    from_agent: str
    to_agent: str | tuple[str, ...]
    message_type: str
    priority: str
    timestamp: str
    ttl: float | None
    content: Any
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]
    require_ack: bool
    max_retries: int
    retry_delay: float
    correlation_id: str | None
    reply_to: str | None
    traceparent: str | None


def compose(
    *,
    from_agent: str,
    to_agent: str | Sequence[str],
    content: Any,
    message_type: str = DEFAULT_TYPE,
    priority: str | int = DEFAULT_PRIORITY,
    ttl: float | None = None,
    context: Mapping[str, Any] = NOTHING,
    metadata: Mapping[str, Any] = NOTHING,
    require_ack: bool = True,
    max_retries: int = DEFAULT_MAX_RETRIES,
    retry_delay: float = DEFAULT_RETRY_DELAY,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    traceparent: str | None = None,
    message_id: str | None = None,
    timestamp: str | None = None,
) -> Envelope:
    """Return a checked envelope with a new id and the time of now, or raise `InvalidMessage`."""
    return Envelope(
        new_message_id() if message_id is None else limits.check_message_id(message_id),
        limits.check_name(from_agent, field="from_agent"),
        limits.check_address(to_agent),
        limits.check_message_type(message_type),
        limits.check_priority(priority),
        now() if timestamp is None else timestamp,
        None if ttl is None else limits.check_ttl(ttl),
        limits.check_json(content, field="body.content"),
        context if context is NOTHING else limits.check_mapping(context, field="body.context"),
        metadata if metadata is NOTHING else limits.check_mapping(metadata, field="body.metadata"),
        limits.check_flag(require_ack, field="delivery_options.require_ack"),
        limits.check_max_retries(max_retries),
        limits.check_retry_delay(retry_delay),
        None if correlation_id is None else limits.check_message_id(correlation_id, field="correlation_id"),
        None if reply_to is None else check_reply_to(reply_to),
        None if traceparent is None else limits.check_traceparent(traceparent),
    )


def encode(envelope: Envelope, *, limit: int = limits.MAX_ENCODED) -> bytes:
    """Return the canonical JSON of *envelope*, or raise when it has more than *limit* bytes."""
    e = envelope
    # Names, types and ids are limited to characters that JSON need not escape.
    text = (
        f'{{"schema_version":{limits.SCHEMA_VERSION},"message_id":"{e.message_id}",'
        f'"from_agent":"{e.from_agent}","to_agent":{_json_address(e.to_agent)},'
        f'"message_type":"{e.message_type}","priority":"{e.priority}","timestamp":"{e.timestamp}",'
        f'"ttl":{_json_number(e.ttl)},'
        f'"body":{{"content":{_json(e.content)},"context":{_json_object(e.context)},'
        f'"metadata":{_json_object(e.metadata)}}},'
        f'"delivery_options":{{"require_ack":{"true" if e.require_ack else "false"},'
        f'"max_retries":{e.max_retries},"retry_delay":{_json_number(e.retry_delay)}}},'
        f'"correlation_id":{_json_optional(e.correlation_id)},"reply_to":{_json_optional(e.reply_to)},'
        f'"traceparent":{_json_optional(e.traceparent)}}}'
    )
    return limits.check_encoded(text.encode(), limit=limit)


def new_message_id() -> str:
    """Return a random version 4 UUID; four times as fast as `str(uuid.uuid4())`."""
    raw = os.urandom(16)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[raw[8] & 3]}{text[17:20]}-{text[20:]}"


def now() -> str:
    """Return the time of the sender's clock in UTC; it informs people and decides nothing."""
    return datetime.now(UTC).isoformat()[: -len("+00:00")] + "Z"


def check_reply_to(value: object) -> str:
    """Return the address for replies: one agent or pool, never everyone."""
    checked = limits.check_address(value, field="reply_to")
    if isinstance(checked, tuple) or checked in ("*", "broadcast"):
        raise InvalidMessage(field="reply_to", value=value, rule="must be one agent or one @pool")
    return checked


def _json(value: Any) -> str:
    return encode_basestring(value) if type(value) is str else _encode_json(value)


def _json_object(value: Mapping[str, Any]) -> str:
    return _encode_json(value) if value else "{}"


def _json_address(value: str | tuple[str, ...]) -> str:
    return f'"{value}"' if isinstance(value, str) else _encode_json(value)


def _json_optional(value: str | None) -> str:
    return "null" if value is None else str(encode_basestring(value))


def _json_number(value: float | None) -> str:
    return "null" if value is None else repr(value)
