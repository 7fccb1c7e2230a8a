"""`hivebus compat`: give old code the new bus, and take it back."""

from __future__ import annotations

from pathlib import Path

from hivebus.cli.app import App
from hivebus.cli.changing import change, changing
from hivebus.cli.options import command, group


@group("compat", examples=["hivebus compat install --dry-run", "hivebus compat uninstall --dir ~/agent-hive"])
def compat() -> None:
    """Let code that was written for message_bus go on as it is."""


@command(
    "install",
    examples=["hivebus compat install --dir ~/agent-hive --dry-run", "hivebus compat install --yes"],
    bus=False,
)
@changing
def install(app: App, *, project: Path, dry_run: bool, yes: bool) -> None:
    """Write the package message_bus and scripts/agent_communicate.py into a project.

    The package has the names that code and scripts import already, and hivebus behind them. What is replaced is
    kept beside it as NAME.tmux-legacy. Doing it again brings it up to date. Contacts no server.
    """
    from hivebus_migration.compat import installing

    if change(app, "compat.install", installing.install(project), dry_run=dry_run, yes=yes):
        app.note('next: python message_bus/tmux_replacement.py pm-agent "hello" frontend-agent')
        app.note("next: hivebus receive --agent pm-agent")


@command(
    "uninstall",
    examples=["hivebus compat uninstall --dir ~/agent-hive --dry-run", "hivebus compat uninstall --yes"],
    bus=False,
)
@changing
def uninstall(app: App, *, project: Path, dry_run: bool, yes: bool) -> None:
    """Take back what hivebus compat install wrote.

    The files are what they were before, byte for byte. A file that somebody has changed meanwhile is named, and
    nothing is touched. What waits in inboxes stays there. Contacts no server.
    """
    from hivebus_migration.compat import installing

    changes = installing.uninstall(project)
    if change(app, "compat.uninstall", changes, dry_run=dry_run, yes=yes):
        installing.forget_compiled(changes)


compat.add_command(install)
compat.add_command(uninstall)
