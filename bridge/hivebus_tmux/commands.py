"""`hivebus tail`: the program for windows that people watch."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hivebus.cli.app import App
from hivebus.cli.options import command
from hivebus.errors import ConfigError
from hivebus.transport import Evidence
from hivebus_migration.facts import Sighting, Witness, now
from hivebus_migration.ledger import Ledger
from hivebus_tmux.frames import Read
from hivebus_tmux.own_pane import mirrored_agent
from hivebus_tmux.window import say, watch

LEG = "tmux"
LEVEL: Evidence = "taken"
LINGER = 1.0
"""Seconds for which the ledger gathers what came: each window is a process, and to write is dearer than to read."""


@command(
    "tail",
    examples=["hivebus tail --agent pm-agent", "tmux new-window -d -n mirror-pm-agent hivebus tail --agent pm-agent"],
)
@click.option("--no-ledger", is_flag=True, help="Show messages only; write down nothing.")
def tail(app: App, *, no_ledger: bool) -> None:
    """Show the messages that are pasted into this window, and run none of them.

    Reads what both tmux drivers write, and notes in the ledger which messages arrived here, and whether
    they arrived as they were sent. --agent says whose window it is; inside tmux the pane may say so.

    Ends when the window is closed, by SIGTERM, or when Ctrl-D is typed twice.
    """
    if app.as_json:
        raise ConfigError("what is shown is for people, and has no JSON form", hint="hivebus migrate report --json")
    if no_ledger:
        watch(ready=lambda: say("hivebus: messages are shown here, and not written down"), took=lambda read: None)
        return
    with Ledger(Path(app.settings.ledger_path()), linger=LINGER) as ledger:
        reporter = Reporter(_whose(app), ledger)
        watch(ready=reporter.ready, took=reporter.took)


class Reporter:
    """Tells the ledger what one agent's window got."""

    def __init__(self, agent: str, ledger: Ledger) -> None:
        self._agent = agent
        self._ledger = ledger

    def ready(self) -> None:
        """From now on nothing is missed."""
        self._ledger.note(Witness(self._agent, LEG, LEVEL, now()))
        say(f"hivebus: messages for {self._agent} are shown here")

    def took(self, read: Read) -> None:
        """A message was read."""
        self._ledger.note(Sighting(read.message_id, LEG, self._agent, LEVEL, read.fingerprint, now()))


def _whose(app: App) -> str:
    """Return the agent: as asked for, as the environment says, as the pane says, or as a file says."""
    asked_for = app.flags.get("agent") or os.environ.get("HIVEBUS_AGENT")
    return app.agent if asked_for else mirrored_agent() or app.agent
