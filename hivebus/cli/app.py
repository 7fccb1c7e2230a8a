"""What a command is given: who asks, which bus, and how to speak to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

# Settings and output are imported late: `--help` needs neither.
if TYPE_CHECKING:
    from hivebus.cli.identity import Identity
    from hivebus.settings import Settings


class App:
    """One run of one command.

    Attributes:
        as_json: whether the answer shall be one JSON document.
        quiet: whether hints and notes are left out.
        flags: the options of the command line that are settings.
    """

    def __init__(self, flags: Mapping[str, Any], *, as_json: bool, quiet: bool) -> None:
        self.flags = flags
        self.as_json = as_json
        self.quiet = quiet

    @cached_property
    def settings(self) -> Settings:
        """The settings, read when a command first asks for one."""
        from hivebus.settings import load

        return load({name: flag for name, flag in self.flags.items() if name != "agent" or flag[:1] != "@"})

    @cached_property
    def identity(self) -> Identity:
        """Who runs the command and what says so; asks tmux, where neither flag nor environment says it."""
        from hivebus.cli.identity import identify

        return identify(self.settings, flag=self.flags.get("agent"), env=os.environ)

    @property
    def agent(self) -> str:
        """Who runs the command, or `ConfigError` when nobody said so."""
        if self.flags.get("agent", "")[:1] == "@":
            from hivebus.errors import ConfigError

            raise ConfigError(
                f"{self.flags['agent']} is a pool, and no agent",
                hint="say who you are: --agent NAME, and which pool: --pool NAME, where a command has it",
            )
        if self.settings.agent and (self.flags.get("agent") or os.environ.get("HIVEBUS_AGENT")):
            return self.settings.agent
        if self.identity.agent:
            return self.identity.agent
        from hivebus.cli.identity import nobody_said

        raise nobody_said(self.identity)

    @property
    def chosen_inbox(self) -> str | None:
        """The inbox that --agent narrows a command to, an agent's or a pool's; None without it."""
        flag = self.flags.get("agent")
        if not flag:
            return None
        from hivebus import limits

        return limits.check_owner(flag, field="--agent") if flag[:1] == "@" else self.agent

    def name_of(self, name: str, *, field: str) -> str:
        """Return an agent's name, its alias resolved; raises `InvalidMessage` for what cannot be one."""
        from hivebus import limits

        return limits.check_name(self.settings.name_of(name), field=field)

    def note(self, text: str) -> None:
        """Say something about the work on stderr, unless asked to be quiet."""
        if not self.quiet:
            from hivebus.cli.output import safe

            sys.stderr.write(f"{safe(text)}\n")

    def name_server(self) -> None:
        """Say which server is used when nobody chose one: two shells with other settings are two buses."""
        settings = self.settings
        if not settings.has_url:
            from hivebus.notice import default_server

            self.note(default_server(settings))
