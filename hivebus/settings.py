"""The settings of this process, and where each of them came from.

A value is taken from the first place that has it: a flag, ``HIVEBUS_*``, the nearest
``.hivebus.toml`` (walking up from the working directory), the user's ``hivebus/config.toml``, or
the default. The agent's name may also stand on its tmux pane, right after the environment: the
command line asks for it, in `hivebus.cli.identity`.
`hivebus send` reads this page, so it imports no more than it must.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from hivebus import limits
from hivebus.errors import ConfigError
from hivebus.setting_rules import SETTINGS
from hivebus.transport import Endpoint

PROJECT_FILE = ".hivebus.toml"
DEFAULT = "default"
PANE_OPTION = "@hivebus_agent"
"""The option of a tmux pane that says which agent runs in it."""
PANE_TIMEOUT = 1.0
"""Seconds that a tmux has to answer a question about a pane."""


class Value(NamedTuple):
    """One value as it was written, and where."""

    value: Any
    source: str


class Settings(NamedTuple):
    """Checked values.

    A named tuple, because every `hivebus send` defines it anew, and a frozen dataclass takes 2 ms for that.

    Attributes:
        url: the server; ``embedded://`` when none is configured.
        namespace: separates buses that share a server.
        agent: who this process is; None when nobody said so.
        lease: seconds without a sign of life after which a consumer counts as dead.
        durability: the level that a send must reach, or None for what the server gives.
        on_full: whether a full inbox raises at once or makes the sender wait a bounded time.
        max_message: the largest encoded message in bytes.
        max_messages: how many messages an inbox holds; max_bytes: how many bytes.
        retention: seconds for which settled messages are kept; retention_bytes: how many bytes all inboxes of
            the namespace may take for them, with those that are not settled.
        max_hops: how many messages may lead to one, each an answer to the one before.
        quota: how much an agent may send, such as ``20/s``; None is as much as it likes.
        legacy_url: the transport that is being left, while messages travel both; None otherwise.
        ledger: the file in which both are compared; None is the default one.
        aliases: agent names by their legacy names.
        sources: where each value came from, by the name of the setting.
    """

    url: str
    namespace: str
    agent: str | None
    lease: float
    durability: Literal["memory", "fsync", "replicated", "fsync+replicated"] | None
    on_full: Literal["error", "wait"]
    max_message: int
    max_messages: int
    max_bytes: int
    retention: float
    retention_bytes: int
    max_hops: int
    quota: str | None
    legacy_url: str | None
    ledger: str | None
    aliases: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def has_url(self) -> bool:
        """Whether somebody chose the server, rather than the default."""
        return self.sources["url"] != DEFAULT

    def name_of(self, name: str) -> str:
        """Return the agent's name for a legacy name, and any other name as it is."""
        return self.aliases.get(name, name)

    def endpoint(self) -> Endpoint:
        """Return where a transport shall connect."""
        return Endpoint(
            url=self.url,
            namespace=self.namespace,
            limit=self.max_message,
            max_messages=self.max_messages,
            max_bytes=self.max_bytes,
            legacy_url=self.legacy_url,
            ledger=self.ledger_path(),
            durability=self.durability,
        )

    def ledger_path(self) -> str:
        """Return where the two roads are compared: as configured, or in the user's state folder."""
        if self.ledger is not None:
            return os.path.expanduser(self.ledger)
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return os.path.join(state, "hivebus", self.namespace, "ledger.db")


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> Settings:
    """Return the settings, or raise `ConfigError` naming setting, value, rule and source.

    Args:
        flags: values that win over everything, by the name of the setting; None is not given.
        environ: the environment to read; the process's own by default.
        cwd: where to start looking for `PROJECT_FILE`.
    """
    env = os.environ if environ is None else environ
    found = {name: Value(value, f"flag --{name}") for name, value in (flags or {}).items() if value is not None}
    _add(found, _from_environment(env))
    for path in _files(env, os.getcwd() if cwd is None else cwd):
        _add(found, _from_file(path))
    _add(found, {name: Value(setting.default, DEFAULT) for name, setting in SETTINGS.items()})
    return _checked(found, env)


def masked(url: str) -> str:
    """Return *url* as it may be shown: without passwords and tokens."""
    url = re.sub(r"(://[^/@:]*:)[^/]*(@)", r"\1***\2", url)
    return re.sub(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&#]*", r"\1***", url, flags=re.IGNORECASE)


def leg_of(url: str) -> str:
    """Return the road that a URL names: the scheme without its variant, and redis for what is built on it."""
    scheme = url.partition("://")[0].partition("+")[0]
    return {"rediss": "redis", "unix": "redis", "embedded": "redis"}.get(scheme, scheme)


# --- Where values come from -----------------------------------------------------------------------


def _add(found: dict[str, Value], values: Mapping[str, Value]) -> None:
    for name, value in values.items():
        found.setdefault(name, value)


def _from_environment(env: Mapping[str, str]) -> dict[str, Value]:
    names = {name: f"HIVEBUS_{name.upper()}" for name in SETTINGS if name != "aliases"}
    return {name: Value(env[key], f"{key} in the environment") for name, key in names.items() if env.get(key)}


def _files(env: Mapping[str, str], cwd: str) -> Iterator[str]:
    folder = os.path.abspath(cwd)
    while not os.path.isfile(os.path.join(folder, PROJECT_FILE)):
        if folder == os.path.dirname(folder):
            break
        folder = os.path.dirname(folder)
    else:
        yield os.path.join(folder, PROJECT_FILE)
    user = os.path.join(env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "hivebus", "config.toml")
    if os.path.isfile(user):
        yield user


def _from_file(path: str) -> dict[str, Value]:
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=f"correct {path}, or remove it") from None
    for name in table:
        if name not in SETTINGS:
            raise ConfigError(
                f"{path}: there is no setting {name!r}",
                cause=f"known are {', '.join(SETTINGS)}",
                hint=f"correct {path}",
            )
    return {name: Value(value, path) for name, value in table.items()}


# --- Whether they may be so ------------------------------------------------------------------------


def _checked(found: Mapping[str, Value], env: Mapping[str, str]) -> Settings:
    checked = {name: _check(name, found[name]) for name in SETTINGS}
    if isinstance(checked["url"], str):
        checked["url"] = _expanded(checked["url"], found["url"].source, env)
    if checked["agent"] is not None:
        checked["agent"] = _agent(checked["agent"], found["agent"].source, checked["aliases"])
    return Settings(**checked, sources={name: found[name].source for name in SETTINGS})


def _check(name: str, value: Value) -> Any:
    setting = SETTINGS[name]
    if value.source == DEFAULT:
        return value.value
    try:
        return setting.check(value.value)
    except ValueError:
        raise _wrong(name, value, setting.rule) from None


def _agent(name: str, source: str, aliases: Mapping[str, str]) -> str:
    name = aliases.get(name, name)
    if source.startswith("flag"):
        # A flag is part of the message that is being written, so it breaks that message's limits.
        return limits.check_name(name, field="agent")
    if not re.fullmatch(limits.NAME_PATTERN, name):
        raise _wrong("agent", Value(name, source), f"{limits.NAME_RULE}; or it needs an entry in [aliases]")
    return name


def _expanded(url: str, source: str, env: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match[1] in env:
            return env[match[1]]
        raise _wrong("url", Value(url, source), f"it names ${{{match[1]}}}, which the environment does not have")

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value_of, url)


def _wrong(name: str, value: Value, rule: str) -> ConfigError:
    shown = masked(value.value) if name == "url" and isinstance(value.value, str) else value.value
    return ConfigError(f"wrong setting {name} = {shown!r} from {value.source}: {rule}", hint=f"correct {value.source}")
