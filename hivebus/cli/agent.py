"""`hivebus agent`: who you are, and how a language model learns to take part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hivebus.cli.app import App
from hivebus.cli.changing import change, changing
from hivebus.cli.options import command, group
from hivebus.cli.output import document, line, table

if TYPE_CHECKING:
    from hivebus.cli.agent_files.programs import Program

PROGRAMS = ("claude", "codex")


@group("agent", examples=["hivebus agent whoami", "hivebus agent install claude --dry-run"])
def agent() -> None:
    """Say who you are, and set up Claude Code or Codex."""


@command("whoami", examples=["hivebus agent whoami", "hivebus agent whoami --json | jq -r .agent"])
def whoami(app: App) -> None:
    """Show which agent you are, and what says so.

    --agent wins over HIVEBUS_AGENT, that over the option @hivebus_agent of your tmux pane, that over a config
    file. Nobody says so: exit code 78. Starts and contacts no server.
    """
    name, source = app.agent, app.identity.source
    if app.as_json:
        document("agent.whoami", {"agent": name, "source": source})
    else:
        table(("AGENT", "SOURCE"), [(name, source)])


@command("snippet", examples=["hivebus agent snippet --agent pm-agent", "hivebus agent snippet >> AGENTS.md"])
def show_snippet(app: App) -> None:
    """Print what a language model has to know, for AGENTS.md or CLAUDE.md.

    With --agent, for that agent. Without, for every agent whose pane or environment says who it is.
    """
    from hivebus.cli.agent_files.snippet import snippet

    text = snippet(_named(app))
    if app.as_json:
        document("agent.snippet", {"agent": _named(app), "text": text})
    else:
        line(text.rstrip("\n"))


@command(
    "install",
    examples=[
        "hivebus agent install claude --dry-run",
        "hivebus agent install codex --dir ~/shop --agent pm-agent --yes",
    ],
)
@changing
@click.argument("program", type=click.Choice(PROGRAMS))
def install(app: App, *, program: str, project: Path, dry_run: bool, yes: bool) -> None:
    """Tell Claude Code or Codex about hivebus, in a project.

    Writes hivebus agent snippet into CLAUDE.md or AGENTS.md, between two marks, and leave to run hivebus into
    .claude/settings.json or .codex/rules/hivebus.rules. All else in these files stays as it is. Doing it again
    brings it up to date. With --agent, for that agent alone.
    """
    from hivebus.cli.agent_files.programs import PROGRAMS as KNOWN

    known = KNOWN[program]
    if change(app, "agent.install", known.install(project, _named(app)), dry_run=dry_run, yes=yes):
        _say_next(app, known)


@command(
    "uninstall",
    examples=["hivebus agent uninstall claude --dry-run", "hivebus agent uninstall codex --dir ~/shop --yes"],
)
@changing
@click.argument("program", type=click.Choice(PROGRAMS))
def uninstall(app: App, *, program: str, project: Path, dry_run: bool, yes: bool) -> None:
    """Take back what hivebus agent install wrote.

    The files are as they were before, byte for byte, with what others wrote into them meanwhile. Those that
    hold nothing else are removed.
    """
    from hivebus.cli.agent_files.programs import PROGRAMS as KNOWN

    change(app, "agent.uninstall", KNOWN[program].uninstall(project), dry_run=dry_run, yes=yes)


def _say_next(app: App, program: Program) -> None:
    for note in program.notes:
        app.note(f"next: {note}")
    if not _named(app):
        app.note("next: say who each agent is: export HIVEBUS_AGENT=NAME, or tmux set -p @hivebus_agent NAME")


def _named(app: App) -> str | None:
    """Return the agent that was asked for: only a flag speaks of others than this very process."""
    return app.agent if app.flags.get("agent") else None


for _command in (whoami, show_snippet, install, uninstall):
    agent.add_command(_command)
