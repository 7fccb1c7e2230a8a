"""Where the windows are: what ``tmux://SESSION?socket=NAME`` says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from hivebus.errors import ConfigError
from hivebus.setting_rules import DURATION_RULE, seconds

Driver = Literal["safe", "legacy"]
OPTIONS = ("socket", "socket_path", "driver", "settle")
DRIVERS = ("safe", "legacy")
SETTLE = 0.5
LONGEST_SETTLE = 2.0
_EXAMPLE = "tmux://agent-hive?socket=NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A parsed URL.

    Attributes:
        session: the tmux session whose windows are the agents'.
        server: the words that tell tmux which server; none for the one that plain ``tmux`` would use.
        driver: how messages are written.
        settle: seconds between a paste and its Enter: programs that redraw swallow an Enter that comes along.
    """

    session: str
    server: tuple[str, ...] = ()
    driver: Driver = "safe"
    settle: float = SETTLE

    def __str__(self) -> str:
        return " ".join(("tmux", *self.server)) + f", session {self.session}"


def parse_place(url: str) -> Place:
    """Return what *url* says, or raise `ConfigError`."""
    parts = urlsplit(url)
    session = unquote(parts.netloc)
    if not session or parts.path.strip("/") or parts.fragment:
        raise ConfigError(f"{url} names no tmux session", hint=f"write {_EXAMPLE}")
    options = _options(url, parts.query)
    driver = options.get("driver", "safe")
    if driver not in DRIVERS:
        raise ConfigError(f"driver={driver} in {url} must be {' or '.join(DRIVERS)}", hint=f"{_EXAMPLE}&driver=safe")
    return Place(
        session=session,
        server=_server(url, options),
        driver=cast(Driver, driver),
        settle=_settle(url, options.get("settle")),
    )


def _options(url: str, query: str) -> Mapping[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    unknown = sorted({name for name, _ in pairs} - set(OPTIONS))
    if unknown:
        raise ConfigError(
            f"{url} has options that tmux:// does not know: {', '.join(unknown)}",
            cause=f"known are {', '.join(OPTIONS)}",
            hint=f"write {_EXAMPLE}",
        )
    options = dict(pairs)
    if len(options) < len(pairs) or not all(options.values()):
        raise ConfigError(f"{url} gives an option twice, or without a value", hint=f"write {_EXAMPLE}")
    return options


def _server(url: str, options: Mapping[str, str]) -> tuple[str, ...]:
    if "socket" in options and "socket_path" in options:
        raise ConfigError(f"{url} names two sockets", hint="give socket=NAME or socket_path=PATH")
    if "/" in options.get("socket", ""):
        raise ConfigError(f"socket in {url} is a name and no path", hint="give socket_path=PATH for a path")
    if "socket" in options:
        return ("-L", options["socket"])
    return ("-S", options["socket_path"]) if "socket_path" in options else ()


def _settle(url: str, given: str | None) -> float:
    if given is None:
        return SETTLE
    try:
        settle = seconds(given)
    except ValueError:
        settle = math.nan
    if 0 <= settle <= LONGEST_SETTLE:
        return settle
    raise ConfigError(
        f"settle={given} in {url} {DURATION_RULE.replace('30s', '500ms')}, of at most {LONGEST_SETTLE:g} seconds",
        hint=f"{_EXAMPLE}&settle=500ms",
    )
