"""A message on its way out: checked facts and their canonical bytes, without a model.

`hivebus send` starts a process per message, and a bus may send ten thousand a second; both
compose an `Envelope` and encode it. `hivebus.message.Message` is the same thing for people to hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import JSONEncoder, encode_basestring
from typing import TYPE_CHECKING, Any, NamedTuple

from hivebus import limits
from hivebus.errors import InvalidMessage
from hivebus.heading import Heading, Terms, heading_of, terms_of

if TYPE_CHECKING:
    from hivebus.stamps import Stamps

DEFAULT_TYPE = "information_share"
DEFAULT_PRIORITY = "medium"
DEFAULT_MAX_RETRIES = 3
DEFAULT_RETRY_DELAY = 30

NOTHING: Mapping[str, Any] = {}
_NO_LINKS = ',"correlation_id":null,"reply_to":null,"traceparent":null}'
_encode_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Envelope(NamedTuple):
    """The facts of one message, checked against `hivebus.limits`.

    A named tuple, because it is made once per message on the send path and a frozen dataclass
    costs three times as much to make.
    """

    heading: Heading
    terms: Terms
    message_id: str
    timestamp: str
    content: Any
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]
    correlation_id: str | None
    reply_to: str | None
    traceparent: str | None
    hops: int = 0

    @property
    def from_agent(self) -> str:
        """Who sends it."""
        return self.heading.from_agent

    @property
    def to_agent(self) -> str | tuple[str, ...]:
        """The address as it was written."""
        return self.heading.to_agent

    @property
    def message_type(self) -> str:
        """What it is about."""
        return self.heading.message_type

    @property
    def priority(self) -> str:
        """Its level, by name."""
        return self.heading.priority


def compose(
    from_agent: str,
    to_agent: str | Sequence[str],
    content: Any,
    message_type: str = DEFAULT_TYPE,
    priority: str | int = DEFAULT_PRIORITY,
    ttl: float | None = None,
    context: Mapping[str, Any] = NOTHING,
    metadata: Mapping[str, Any] = NOTHING,
    require_ack: bool = True,  # noqa: FBT001, FBT002 - see below
    max_retries: int = DEFAULT_MAX_RETRIES,
    retry_delay: float = DEFAULT_RETRY_DELAY,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    traceparent: str | None = None,
    message_id: str | None = None,
    stamps: Stamps | None = None,
    hops: int = 0,
) -> Envelope:
    """Return a checked envelope with a new id and the time of now, or raise `InvalidMessage`.

    Name what you pass; only `Bus.send` goes by the places, since so many names cost it as much as all the rest.

    Args:
        stamps: where ids and times come from, for a sender of many messages.
        hops: how many messages led to it.
    """
    if message_id is not None:
        limits.check_message_id(message_id)
    elif stamps is not None:
        message_id = stamps.message_id()
    else:
        message_id = new_message_id()
    facts = (
        heading_of(from_agent, to_agent, message_type, priority),
        terms_of(ttl, require_ack, max_retries, retry_delay),
        message_id,
        now() if stamps is None else stamps.now(),
        limits.check_json(content, field="body.content"),
        context if context is NOTHING else limits.check_mapping(context, field="body.context"),
        metadata if metadata is NOTHING else limits.check_mapping(metadata, field="body.metadata"),
        None if correlation_id is None else limits.check_message_id(correlation_id, field="correlation_id"),
        None if reply_to is None else check_reply_to(reply_to),
        None if traceparent is None else limits.check_traceparent(traceparent),
        hops,
    )
    # What `Envelope(...)` does as well, a function call later.
    return tuple.__new__(Envelope, facts)


def encode(envelope: Envelope, *, limit: int = limits.MAX_ENCODED) -> bytes:
    """Return the canonical JSON of *envelope*, or raise when it has more than *limit* bytes."""
    heading, terms, message_id, timestamp, content, context, metadata, correlation_id, reply_to, traceparent, hops = (
        envelope
    )
    text = (
        f'{{"schema_version":{limits.SCHEMA_VERSION},"message_id":"{message_id}"{heading.text}{timestamp}{terms.before}'
        f"{encode_basestring(content) if type(content) is str else _encode_json(content)}"
        f',"context":{_encode_json(context) if context else "{}"}'
        f',"metadata":{_encode_json(metadata) if metadata else "{}"}'
        f"{terms.after}{_links(correlation_id, reply_to, traceparent, hops)}"
    )
    return limits.check_encoded(text.encode(), limit=limit)


def marked(data: bytes, gone: str) -> bytes:
    """Return encoded *data* as it is rerouted, because its addressee *gone* has not been seen for long."""
    return b'%b,"rerouted_from":"%b"}' % (data[:-1], gone.encode())


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


def _links(correlation_id: str | None, reply_to: str | None, traceparent: str | None, hops: int) -> str:
    if correlation_id is reply_to is traceparent is None and not hops:
        return _NO_LINKS
    far = f',"hops":{hops}' if hops else ""
    return (
        f',"correlation_id":{_json_optional(correlation_id)}'
        f',"reply_to":{_json_optional(reply_to)},"traceparent":{_json_optional(traceparent)}{far}}}'
    )


def _json_optional(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)
