"""`hivebus migrate start`, `promote` and `rollback`: one step of one or several agents."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command
from hivebus.cli.output import document, table, warn
from hivebus.errors import HivebusError
from hivebus.transport import Directory
from hivebus_migration import stages
from hivebus_migration.main_road import main_road, operator
from hivebus_migration.stages import EVERYONE, Step


class Move(Protocol):
    """Moves one agent, or only says how."""

    def __call__(self, directory: Directory, agent: str, *, dry_run: bool) -> Awaitable[Step]: ...


_dry_run = click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
_yes = click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")


@command("start", examples=["hivebus migrate start pm-agent", "hivebus migrate start --all --dry-run"])
@click.argument("agents", metavar="[AGENT]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="Every agent that has an inbox or a stage.")
@_dry_run
@_yes
def start(app: App, *, agents: tuple[str, ...], everybody: bool, dry_run: bool, yes: bool) -> ExitCode:
    """Send copies of an agent's messages over the second road as well: from off to dualwrite.

    The legacy transport still acts. The copies go to a shadow inbox, where no handler ever sees them and
    `hivebus bridge run` reads them for the comparison. Several agents may be named; '*' stands for all that
    have no stage of their own. With --all, those that are past dualwrite stay where they are.
    """
    if everybody == bool(agents):
        raise click.UsageError("name agents, or give --all, and not both")

    def move(directory: Directory, agent: str, *, dry_run: bool) -> Awaitable[Step]:
        return stages.start(directory, agent, by=operator(app), dry_run=dry_run)

    return _run(app, "start", None if everybody else agents, move, dry_run=dry_run, yes=yes)


@command(
    "promote",
    examples=["hivebus migrate promote pm-agent --to live", "hivebus migrate promote pm-agent --to live --json"],
)
@click.argument("agents", metavar="AGENT...", nargs=-1, required=True)
@click.option("--to", metavar="STAGE", required=True, help="The next stage; in this release: live.")
@_dry_run
@_yes
def promote(app: App, *, agents: tuple[str, ...], to: str, dry_run: bool, yes: bool) -> ExitCode:
    """Move agents one stage on: from dualwrite to live, where the transport that is moved to acts.

    Senders learn of it within about a second. A message is handled once: what was sent before acts on the
    road that it was sent by, so let the program in the agent's window run on for a moment.
    """

    def move(directory: Directory, agent: str, *, dry_run: bool) -> Awaitable[Step]:
        return stages.promote(directory, agent, to, by=operator(app), dry_run=dry_run)

    return _run(app, "promote", agents, move, dry_run=dry_run, yes=yes)


@command(
    "rollback",
    examples=[
        'hivebus migrate rollback pm-agent --to dualwrite --reason "handler too slow"',
        'hivebus migrate rollback pm-agent --to off --reason "maintenance" --yes',
    ],
)
@click.argument("agents", metavar="AGENT...", nargs=-1, required=True)
@click.option("--to", metavar="STAGE", required=True, help="Any earlier stage: dualwrite or off.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is kept with the stage.")
@_dry_run
@_yes
def rollback(app: App, *, agents: tuple[str, ...], to: str, reason: str, dry_run: bool, yes: bool) -> ExitCode:
    """Move agents back to an earlier stage, at any time.

    What waits in the agent's inbox stays there, and is handled from there: stop the agent's consumer when
    it shall not be.
    """

    def move(directory: Directory, agent: str, *, dry_run: bool) -> Awaitable[Step]:
        return stages.rollback(directory, agent, to, by=operator(app), reason=reason, dry_run=dry_run)

    return _run(app, "rollback", agents, move, dry_run=dry_run, yes=yes)


# --- What they share -------------------------------------------------------------------------------


def _run(app: App, name: str, agents: Sequence[str] | None, move: Move, *, dry_run: bool, yes: bool) -> ExitCode:
    names = None if agents is None else [_name(app, each) for each in dict.fromkeys(agents)]
    if names is None and not dry_run and not yes:
        _ask(asyncio.run(_moved(app, names, move, dry_run=True))[0])
    steps, problems = asyncio.run(_moved(app, names, move, dry_run=dry_run))
    if not steps and problems and len(problems) == 1:
        raise problems[0]
    _show(app, name, steps, dry_run=dry_run)
    for problem in problems:
        warn(f"error: {problem}")
    return ExitCode.CHECK_FAILED if problems else ExitCode.OK


async def _moved(
    app: App, names: Sequence[str] | None, move: Move, *, dry_run: bool
) -> tuple[list[Step], list[HivebusError]]:
    """Move one agent after the other; one that cannot be moved does not keep the others."""
    steps: list[Step] = []
    problems: list[HivebusError] = []
    async with main_road(app) as road:
        known = await stages.read_stages(road.directory) if names is None else {}
        for name in await road.agents() if names is None else names:
            if names is None and stages.stage_of(name, known).name not in ("off", "dualwrite"):
                continue
            try:
                steps.append(await move(road.directory, name, dry_run=dry_run))
            except HivebusError as error:
                problems.append(error)
    return steps, problems


def _name(app: App, name: str) -> str:
    return name if name == EVERYONE else app.name_of(name, field="AGENT")


def _ask(steps: Sequence[Step]) -> None:
    changes = [step.agent for step in steps if step.before != step.after]
    if not changes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"this changes {len(changes)} agents, and nobody can be asked: add --yes, or --dry-run")
    click.confirm(f"This moves {len(changes)} agents: {', '.join(changes)}. Go on?", abort=True, err=True)


def _show(app: App, name: str, steps: Sequence[Step], *, dry_run: bool) -> None:
    if app.as_json:
        document(f"migrate.{name}", {"dry_run": dry_run, "agents": [_facts(step) for step in steps]})
        return
    rows = [
        (step.agent, step.before.name, step.after.name, step.after.epoch, _remark(step, dry_run=dry_run))
        for step in steps
    ]
    table(("AGENT", "FROM", "TO", "EPOCH", "RESULT"), rows)
    if not steps:
        app.note("no agent has an inbox or a stage yet: name one, or give '*' for all that are to come")
    elif not dry_run:
        app.note("senders learn of it within about a second; hivebus migrate status shows where everybody stands")


def _facts(step: Step) -> dict[str, Any]:
    return {
        "agent": step.agent,
        "from": step.before.name,
        "to": step.after.name,
        "epoch": step.after.epoch,
        "changed": step.before != step.after,
    }


def _remark(step: Step, *, dry_run: bool) -> str:
    if step.before == step.after:
        return "stays"
    return "would move" if dry_run else "moved"
