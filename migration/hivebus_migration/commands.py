"""`hivebus migrate`: move agents from one road to the other, step by step, and see where each stands."""

from __future__ import annotations

from importlib import import_module

import click

from hivebus.cli.options import epilog

COMMANDS = {
    "start": ("hivebus_migration.move_commands:start", "Send copies over the second road as well"),
    "status": ("hivebus_migration.status_command:status", "Show the stage of every agent"),
    "report": ("hivebus_migration.report_command:report", "Compare which road delivered"),
    "promote": ("hivebus_migration.move_commands:promote", "Move agents one stage on"),
    "rollback": ("hivebus_migration.move_commands:rollback", "Move agents back to an earlier stage"),
}
"""Where each command is, and what the help says; in the order in which they are needed."""


class Migrate(click.Group):
    """Imports a command when it is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, importing it; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with what each does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    "migrate",
    cls=Migrate,
    epilog=epilog(["hivebus migrate start pm-agent", "hivebus migrate promote pm-agent --to live"]),
)
def migrate() -> None:
    """Move agents from one road to the other, step by step.

    Stages: off (the legacy transport acts), dualwrite (it still acts, and a copy travels the other road, to
    be compared), live (the other one acts, and a copy travels the legacy road). One leg acts for an agent
    at a time. Set HIVEBUS_LEGACY_URL to the transport that is left, and HIVEBUS_URL to the one to move to.
    """
