"""What each setting may be: its default, its check and the rule in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hivebus import limits


class Setting(NamedTuple):
    """One setting; *check* returns the value in its canonical form or raises `ValueError`."""

    default: Any
    check: Callable[[Any], Any]
    rule: str


def seconds(value: object) -> float:
    """Return the seconds of ``90``, ``30s``, ``5m``, ``24h`` or ``1h30m``, or raise `ValueError`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    match = _duration(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(DURATION_RULE)
    total: float = sum(float(number) * _UNITS[unit] for number, unit in _duration_parts(match["parts"]))
    total = -total if match["sign"] else total
    # Whole seconds stay whole, so that a ttl of 1h travels as 3600.
    return int(total) if total == int(total) else total


def _url(value: object) -> str:
    return _matching(r"[a-z][a-z0-9+.-]*://.*", value)


def _name(value: object) -> str:
    return _matching(limits.NAME_PATTERN, value)


def _any_text(value: object) -> str:
    return _matching(r".+", value)


def _matching(pattern: str, value: object) -> str:
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return value
    raise ValueError


def _lease(value: object) -> float:
    return _within(seconds(value), low=MIN_LEASE, high=MAX_LEASE)


def _retention(value: object) -> float:
    return _within(seconds(value), low=MIN_RETENTION, high=MAX_RETENTION)


def _one_of(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError

    return check


def size(value: object) -> int:
    """Return the bytes of ``4096``, ``10MiB`` or ``2 GiB``, or raise `ValueError`."""
    return _size(low=0, high=1024**5)(value)


def _size(*, low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, str):
            match = re.fullmatch(r"(\d{1,15})\s*(KiB|MiB|GiB)?", value)
            if not match:
                raise ValueError
            value = int(match[1]) * _SIZES[match[2] or ""]
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError
        return int(_within(value, low=low, high=high))

    return check


def _quota(value: object) -> str:
    return _matching(QUOTA_PATTERN, str(value) if type(value) is int else value)


def _within(value: float, *, low: float, high: float) -> float:
    if low <= value <= high:
        return value
    raise ValueError


def _aliases(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    return {legacy: _name(name) for legacy, name in value.items()}


EMBEDDED_URL = "embedded://"
MIN_LEASE = 0.1
MAX_LEASE = 7 * 86_400
MIN_RETENTION = 1.0
MAX_RETENTION = 365 * 86_400
QUOTA_PATTERN = r"(?P<count>[1-9]\d{0,6})(?:/(?P<unit>[smh]))?(?: burst (?P<burst>[1-9]\d{0,6}))?"
QUOTA_RULE = "must be messages a second, minute or hour, such as 20/s, 600/m or 20/s burst 100"
MOST_HOPS = 10_000
DURATION_RULE = "must be a duration such as 90, 30s, 5m, 24h or 1h30m"

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZES = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_NUMBER = r"\d{1,12}(?:\.\d{1,6})?"
_duration = re.compile(rf"(?P<sign>-?)(?P<parts>{_NUMBER}|(?:{_NUMBER}(?:ms|s|m|h|d))+)").fullmatch
_duration_parts = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)").findall
_SIZE_RULE = "as a number, or with KiB, MiB or GiB"

SETTINGS: Mapping[str, Setting] = {
    "url": Setting(EMBEDDED_URL, _url, "must be a URL such as redis://localhost:6379; `hivebus transports list`"),
    "namespace": Setting("hb", _name, limits.NAME_RULE),
    "agent": Setting(None, _any_text, limits.NAME_RULE),
    "lease": Setting(15.0, _lease, f"{DURATION_RULE}, from {MIN_LEASE:g} seconds to 7 days"),
    "durability": Setting(
        None,
        _one_of("memory", "fsync", "replicated", "fsync+replicated"),
        "must be memory, fsync, replicated or fsync+replicated",
    ),
    "on_full": Setting("error", _one_of("error", "wait"), "must be error or wait"),
    "max_message": Setting(
        limits.MAX_ENCODED,
        _size(low=1024, high=limits.MAX_ENCODED_CEILING),
        f"must be from 1024 bytes to 1 MiB, {_SIZE_RULE}",
    ),
    "max_messages": Setting(1_000_000, _size(low=1, high=10**9), "must be a whole number from 1 to 1,000,000,000"),
    "max_bytes": Setting(
        512 * 1024**2, _size(low=1024**2, high=1024**4), f"must be from 1 MiB to 1024 GiB, {_SIZE_RULE}"
    ),
    "retention": Setting(
        86_400.0, _retention, f"{DURATION_RULE}, from {MIN_RETENTION:g} seconds to {MAX_RETENTION // 86_400} days"
    ),
    "retention_bytes": Setting(
        1024**3, _size(low=1024**2, high=1024**5), f"must be from 1 MiB to 1048576 GiB, {_SIZE_RULE}"
    ),
    "max_hops": Setting(32, _size(low=1, high=MOST_HOPS), f"must be a whole number from 1 to {MOST_HOPS:,}"),
    "quota": Setting(None, _quota, QUOTA_RULE),
    "legacy_url": Setting(None, _url, "must be a URL such as tmux://agent-hive; `hivebus transports list`"),
    "ledger": Setting(None, _any_text, "must be the path of a file"),
    "aliases": Setting(
        {}, _aliases, f"must be a table of legacy names and agent names; an agent name {limits.NAME_RULE}"
    ),
}
"""Every setting: its default, what it may be, and the rule in words."""
