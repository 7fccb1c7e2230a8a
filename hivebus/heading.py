"""What messages of one sender have in common: looked at and written down once, not once per message."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from json import dumps
from typing import Any, NamedTuple

from hivebus import limits
from hivebus.address import routing_key

KEPT = 1024
"""How many different headings and terms a process remembers."""


class Heading(NamedTuple):
    """From whom to whom, what, and how urgent.

    Attributes:
        level: the priority as a number, 1 to 5; key: the routing key.
        text: all of it as it stands in the canonical JSON, up to the timestamp.
    """

    from_agent: str
    to_agent: str | tuple[str, ...]
    message_type: str
    priority: str
    level: int
    key: str
    text: str


class Terms(NamedTuple):
    """How a message is to be treated.

    Attributes:
        before, after: the terms as they stand in the canonical JSON before and after what the message says.
    """

    ttl: float | None
    require_ack: bool
    max_retries: int
    retry_delay: float
    before: str
    after: str


def heading_of(from_agent: str, to_agent: str | Sequence[str], message_type: str, priority: str | int) -> Heading:
    """Return the checked heading, or raise `InvalidMessage`."""
    try:
        return _known_heading(from_agent, to_agent, message_type, priority)
    except TypeError:
        # What cannot be looked up, such as a list of agents.
        return _heading(from_agent, to_agent, message_type, priority)


def terms_of(ttl: float | None, require_ack: bool, max_retries: int, retry_delay: float) -> Terms:  # noqa: FBT001
    """Return the checked terms, or raise `InvalidMessage`."""
    try:
        return _known_terms(ttl, require_ack, max_retries, retry_delay)
    except TypeError:
        return _terms(ttl, require_ack, max_retries, retry_delay)


def _heading(from_agent: Any, to_agent: Any, message_type: Any, priority: Any) -> Heading:
    sender = limits.check_name(from_agent, field="from_agent")
    address = limits.check_address(to_agent)
    kind = limits.check_message_type(message_type)
    level = limits.check_priority(priority)
    # Names and types are limited to characters that JSON need not escape.
    text = (
        f',"from_agent":"{sender}","to_agent":{dumps(address, separators=(",", ":"))}'
        f',"message_type":"{kind}","priority":"{level}","timestamp":"'
    )
    return Heading(sender, address, kind, level, limits.LEVELS[level], routing_key(address, kind), text)


def _terms(ttl: Any, require_ack: Any, max_retries: Any, retry_delay: Any) -> Terms:
    seconds = limits.check_ttl(ttl)
    flag = limits.check_flag(require_ack, field="delivery_options.require_ack")
    retries = limits.check_max_retries(max_retries)
    delay = limits.check_retry_delay(retry_delay)
    before = f'","ttl":{"null" if seconds is None else repr(seconds)},"body":{{"content":'
    after = (
        f'}},"delivery_options":{{"require_ack":{"true" if flag else "false"}'
        f',"max_retries":{retries},"retry_delay":{delay!r}}}'
    )
    return Terms(seconds, flag, retries, delay, before, after)


# Typed, because True is not 1 here; errors are not remembered.
_known_heading = lru_cache(maxsize=KEPT, typed=True)(_heading)
_known_terms = lru_cache(maxsize=KEPT, typed=True)(_terms)
