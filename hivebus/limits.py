"""What a message may be: plain functions, so that a one-shot sender needs no model.

Each check returns the value in its canonical form or raises
:class:`~hivebus.errors.InvalidMessage` naming field, value and rule.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hivebus.errors import InvalidMessage

SCHEMA_VERSION = 1
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"
TYPE_PATTERN = r"[a-z0-9][a-z0-9_.-]{0,62}"
MESSAGE_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
MAX_ENCODED = 256 * 1024
MAX_ENCODED_CEILING = 1024 * 1024
MAX_DEPTH = 32
MAX_RECIPIENTS = 1000
MAX_TTL = 10 * 365 * 86_400
MAX_DELAY = 365 * 86_400
MAX_RETRIES = 1000
MAX_RETRY_DELAY = 86_400
MAX_LABEL = 256
MAX_DIGITS = 4000

LEVELS: Mapping[str, int] = {"low": 1, "medium": 2, "high": 3, "urgent": 4, "emergency": 5}
PRIORITIES: Mapping[int, str] = {level: name for name, level in LEVELS.items()}

# Neither Python nor a JSON parser reads an integer of more than 4300 digits.
_HUGE = 10**MAX_DIGITS
_name = re.compile(NAME_PATTERN).fullmatch
_inbox = re.compile(rf"{NAME_PATTERN}(?:~[a-z0-9]{{1,32}})?").fullmatch
_type = re.compile(TYPE_PATTERN).fullmatch
_message_id = re.compile(MESSAGE_ID_PATTERN).fullmatch

NAME_RULE = f"must match {NAME_PATTERN}: 1 to 63 of a-z, 0-9, _ and -, starting with a letter or digit"
TYPE_RULE = f"must match {TYPE_PATTERN}: 1 to 63 of a-z, 0-9, _, . and -, starting with a letter or digit"
MESSAGE_ID_RULE = f"must match {MESSAGE_ID_PATTERN}: 1 to 64 of letters, digits, _, ., : and -"
VERSION_RULE = f"this hivebus reads version 1 to {SCHEMA_VERSION}; a newer sender needs a newer reader"
ADDRESS_RULE = "must be an agent name, @pool, * or broadcast, or a list of agent names; a name " + NAME_RULE


def check_name(value: object, *, field: str) -> str:
    """Return an agent or pool name, or raise."""
    if isinstance(value, str) and _name(value):
        return value
    raise InvalidMessage(field=field, value=value, rule=NAME_RULE)


def check_owner(value: object, *, field: str) -> str:
    """Return whose inbox is meant, an agent's or that of a ``@pool``, or raise."""
    if isinstance(value, str) and value[:1] == "@" and _name(value[1:]):
        return value
    return check_name(value, field=field)


def check_address(value: object, *, field: str = "to_agent") -> str | tuple[str, ...]:
    """Return an address as it was written: a name, ``@pool``, ``*``, ``broadcast``, or a list."""
    if isinstance(value, str):
        if _inbox(value) or value in ("*", "broadcast") or (value[:1] == "@" and _name(value[1:])):
            return value
    elif isinstance(value, (list, tuple)) and 0 < len(value) <= MAX_RECIPIENTS:
        return tuple(check_name(name, field=field) for name in value)
    raise InvalidMessage(field=field, value=value, rule=ADDRESS_RULE)


def check_message_type(value: object) -> str:
    """Return a message type, or raise."""
    if isinstance(value, str) and _type(value):
        return value
    raise InvalidMessage(field="message_type", value=value, rule=TYPE_RULE)


def check_message_id(value: object, *, field: str = "message_id") -> str:
    """Return a message id, or raise."""
    if isinstance(value, str) and _message_id(value):
        return value
    raise InvalidMessage(field=field, value=value, rule=MESSAGE_ID_RULE)


def check_priority(value: object) -> str:
    """Return a priority by name; its number (1 low to 5 emergency) is accepted too."""
    if isinstance(value, str):
        if value in LEVELS:
            return value if type(value) is str else str(value)
        if value in "12345" and len(value) == 1:
            return PRIORITIES[int(value)]
    elif type(value) is int and value in PRIORITIES:
        return PRIORITIES[value]
    raise InvalidMessage(
        field="priority", value=value, rule="must be low, medium, high, urgent or emergency, or 1 to 5"
    )


def check_ttl(value: object) -> float | None:
    """Return a time to live in seconds, or None for no expiry."""
    return None if value is None else _number(value, field="ttl", low=0.001, high=MAX_TTL, unit=" seconds, or null")


def check_delay(value: object) -> float:
    """Return how many seconds a message waits before it is queued."""
    return _number(value, field="delay", low=0, high=MAX_DELAY, unit=" seconds")


def check_timeout(value: object) -> float:
    """Return how many seconds somebody waits for an answer."""
    return _number(value, field="timeout", low=0, high=MAX_DELAY, unit=" seconds")


def check_retry_delay(value: object) -> float:
    """Return the base delay between two attempts, in seconds."""
    return _number(value, field="delivery_options.retry_delay", low=0, high=MAX_RETRY_DELAY, unit=" seconds")


def check_max_retries(value: object) -> int:
    """Return how often a failing handler gets the message again."""
    if type(value) is int and 0 <= value <= MAX_RETRIES:
        return value
    raise InvalidMessage(
        field="delivery_options.max_retries", value=value, rule=f"must be a whole number from 0 to {MAX_RETRIES}"
    )


def check_flag(value: object, *, field: str) -> bool:
    """Return a boolean, or raise: 1, "yes" and the like are no booleans."""
    if isinstance(value, bool):
        return value
    raise InvalidMessage(field=field, value=value, rule="must be true or false")


def check_label(value: object, *, field: str) -> str | None:
    """Return a short printable string (a trace context), or None."""
    if value is None or (isinstance(value, str) and len(value) <= MAX_LABEL and value.isprintable()):
        return value
    raise InvalidMessage(field=field, value=value, rule=f"must be at most {MAX_LABEL} printable characters, or null")


def check_traceparent(value: object) -> str | None:
    """Return a trace context, or None."""
    return check_label(value, field="traceparent")


def check_mapping(value: object, *, field: str) -> dict[str, Any]:
    """Return a JSON object, or raise."""
    if not isinstance(value, Mapping):
        raise InvalidMessage(field=field, value=value, rule="must be a JSON object")
    if value:
        check_json(value, field=field)
    return dict(value)


def check_json(value: object, *, field: str) -> Any:
    """Return a JSON value, or raise when JSON cannot hold it or it nests too deep."""
    if type(value) is str:
        _check_text(value, field=field)
    else:
        # body and the field itself are the two levels above the value.
        _check_nested(value, field=field, depth=2)
    return value


def check_encoded(data: bytes, *, limit: int = MAX_ENCODED) -> bytes:
    """Return the encoded message, or raise when it is too large to travel."""
    if len(data) <= limit:
        return data
    raise InvalidMessage(
        field="body",
        value=f"{len(data)} bytes encoded",
        rule=f"an encoded message may have {limit} bytes; put the rest in a file and send its path",
        why="too_large",
    )


def _check_nested(value: object, *, field: str, depth: int) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if not -_HUGE < value < _HUGE:
            raise InvalidMessage(field=field, value=value, rule=f"an integer may have {MAX_DIGITS} digits")
    elif isinstance(value, str):
        _check_text(value, field=field)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidMessage(field=field, value=value, rule="JSON has no NaN and no infinity")
    elif isinstance(value, (list, tuple, dict)):
        if depth >= MAX_DEPTH:
            raise _too_deep(field.split("[")[0])
        _check_items(value, field=field, depth=depth + 1)
    else:
        raise InvalidMessage(
            field=field,
            value=value,
            rule=f"must be a JSON value, and JSON has no {type(value).__name__}",
        )


def _check_items(value: list[Any] | tuple[Any, ...] | dict[Any, Any], *, field: str, depth: int) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidMessage(field=field, value=key, rule="the keys of a JSON object must be strings")
            _check_text(key, field=field)
            _check_nested(item, field=f"{field}.{key}", depth=depth)
    else:
        for index, item in enumerate(value):
            _check_nested(item, field=f"{field}[{index}]", depth=depth)


def _check_text(value: str, *, field: str) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(
            field=field,
            value=value[error.start : error.start + 20],
            rule=f"must be valid Unicode text; character {error.start} cannot be written as UTF-8",
        ) from None


def _too_deep(field: str) -> InvalidMessage:
    return InvalidMessage(
        field=field,
        value=f"more than {MAX_DEPTH} levels",
        rule=f"a message may nest at most {MAX_DEPTH} levels deep",
        why="too_deep",
    )


def _number(value: object, *, field: str, low: float, high: float, unit: str) -> float:
    # bool is an int in Python, but `ttl=True` is a mistake.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise InvalidMessage(field=field, value=value, rule=f"must be from {low:g} to {high:g}{unit}")
