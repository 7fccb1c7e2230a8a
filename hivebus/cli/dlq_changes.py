"""`hivebus dlq requeue` and `purge`: what was shown is what is changed, and nothing that died meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Literal

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.letters import PAGE, Letter, Wanted, choose, show_table
from hivebus.cli.link import Link, connect, run
from hivebus.cli.options import CommandFunction, command, duration_type
from hivebus.cli.output import document, table, warn

Outcome = Literal["selected", "requeued", "purged", "gone", "refused"]
SHOWN = 20
"""How many letters stand above a question."""
NO_ID = "it came without a message id, by which it could be followed: purge it, or send its text as a new message"
GONE = "it is no dead letter any more, or its id is in use again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a command does to each letter.

    Attributes:
        name: of the command; done: what a letter is then.
        question: asked before, with a place for how many there are.
        needs_id: whether a letter without a message id is refused.
    """

    name: Literal["requeue", "purge"]
    done: Literal["requeued", "purged"]
    question: str
    needs_id: bool


REQUEUE = Change(name="requeue", done="requeued", question="Queue {} again?", needs_id=True)
PURGE = Change(name="purge", done="purged", question="Delete {} for good?", needs_id=False)


def _choosing(function: CommandFunction) -> CommandFunction:
    """Add what says which letters are meant, and how sure one is."""
    for add in reversed(
        [
            click.argument("ids", metavar="[ID]...", nargs=-1),
            click.option("--reason", metavar="TEXT", help="Whose reason contains this text, as it is written there."),
            click.option("--older-than", type=duration_type(lowest=0), help="Sent longer ago than that; 0s is all."),
            click.option("--limit", type=click.IntRange(min=1), help="At most that many, the oldest first."),
            click.option("--dry-run", is_flag=True, help="Show which they are, and change nothing."),
            click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked."),
        ]
    ):
        function = add(function)
    return function


@command(
    "requeue", examples=["hivebus dlq requeue 1f0c", "hivebus dlq requeue --reason max_retries --older-than 1h --yes"]
)
@_choosing
def requeue(
    app: App,
    *,
    ids: Sequence[str],
    reason: str | None,
    older_than: float | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
) -> ExitCode:
    """Queue dead letters again, under their ids.

    Name them, or say what they have in common; with --agent, those of one inbox. Each keeps its priority,
    its attempts are counted from one again, and it has no deadline any more, not even when it expired.
    A message without an id is refused. Exit code 1 when one was refused, or was gone before.
    """
    wanted = Wanted(names=ids, reason=reason, older_than=older_than, limit=limit)
    return _change(app, REQUEUE, wanted, dry_run=dry_run, yes=yes)


@command("purge", examples=["hivebus dlq purge 1f0c 77ab --yes", "hivebus dlq purge --agent pm-agent --older-than 7d"])
@_choosing
def purge(
    app: App,
    *,
    ids: Sequence[str],
    reason: str | None,
    older_than: float | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
) -> ExitCode:
    """Delete dead letters for good.

    Name them, or say what they have in common; with --agent, those of one inbox. Nobody knows their ids
    afterwards. Exit code 1 when one was gone before.
    """
    wanted = Wanted(names=ids, reason=reason, older_than=older_than, limit=limit)
    return _change(app, PURGE, wanted, dry_run=dry_run, yes=yes)


# --- What they share -------------------------------------------------------------------------------


def _change(app: App, change: Change, wanted: Wanted, *, dry_run: bool, yes: bool) -> ExitCode:
    _check(app, wanted)
    letters = run(_chosen(app, wanted))
    if dry_run:
        outcomes: list[Outcome] = ["refused" if _is_refused(change, each) else "selected" for each in letters]
        return _show(app, change, letters, outcomes, dry_run=True)
    if letters and not yes:
        _ask(app, change, letters)
    return _show(app, change, letters, run(_carried_out(app, change, letters)), dry_run=False)


def _check(app: App, wanted: Wanted) -> None:
    by_facts = wanted.reason is not None or wanted.older_than is not None or wanted.limit is not None
    if wanted.names and by_facts:
        raise click.UsageError("name the dead letters, or give --reason, --older-than and --limit, but not both")
    if not wanted.names and not by_facts and not app.flags.get("agent"):
        raise click.UsageError(
            "which dead letters? Name them, or give --reason, --older-than or --agent; --older-than 0s means all"
        )


async def _chosen(app: App, wanted: Wanted) -> list[Letter]:
    async with connect(app) as link:
        return await choose(app, link, wanted)


def _ask(app: App, change: Change, letters: Sequence[Letter]) -> None:
    many = "1 dead letter" if len(letters) == 1 else f"{len(letters)} dead letters"
    if app.as_json or not sys.stdin.isatty():
        raise click.UsageError(f"this changes {many}, and nobody can be asked: add --yes, or --dry-run")
    # A question is no data, and neither is what it is about.
    with redirect_stdout(sys.stderr):
        show_table(letters[:SHOWN])
    if len(letters) > SHOWN:
        app.note(f"... and {len(letters) - SHOWN} more: --dry-run shows all")
    click.confirm(change.question.format(many), abort=True, err=True)


async def _carried_out(app: App, change: Change, letters: Sequence[Letter]) -> list[Outcome]:
    async with connect(app) as link:
        outcomes: list[Outcome] = []
        for inbox, batch in _batches(letters):
            outcomes += await _carry_out(link, change, inbox, batch)
        return outcomes


async def _carry_out(link: Link, change: Change, inbox: str, batch: Sequence[Letter]) -> list[Outcome]:
    act = link.dead_letters().requeue if change is REQUEUE else link.dead_letters().purge
    # By the name of the letter: its message may have been requeued and have died again since it was shown.
    names = [each.place.letter or each.place.message_id for each in batch if not _is_refused(change, each)]
    done = iter(await act(inbox, names) if names else [])
    return ["refused" if _is_refused(change, each) else change.done if next(done) else "gone" for each in batch]


def _batches(letters: Sequence[Letter]) -> list[tuple[str, list[Letter]]]:
    """Return runs of letters of one inbox, in their order and no longer than a page."""
    batches: list[tuple[str, list[Letter]]] = []
    for each in letters:
        if not batches or batches[-1][0] != each.place.inbox or len(batches[-1][1]) == PAGE:
            batches.append((each.place.inbox, []))
        batches[-1][1].append(each)
    return batches


def _is_refused(change: Change, letter: Letter) -> bool:
    return change.needs_id and not letter.place.message_id


def _show(
    app: App, change: Change, letters: Sequence[Letter], outcomes: Sequence[Outcome], *, dry_run: bool
) -> ExitCode:
    told = list(zip(letters, outcomes, strict=True))
    if app.as_json:
        messages = [{**each.facts, "outcome": outcome} for each, outcome in told]
        document(f"dlq.{change.name}", {"dry_run": dry_run, "messages": messages})
    elif dry_run:
        show_table(letters)
    else:
        table(("ID", "AGENT", "OUTCOME"), [(each.name, each.place.inbox, outcome) for each, outcome in told])
    if not letters:
        app.note("no such dead letters")
    elif dry_run:
        app.note(f"{len(letters)} would be {change.done}; nothing was changed")
    for each, outcome in told:
        if outcome in ("refused", "gone"):
            warn(f"{each.name}: {NO_ID if outcome == 'refused' else GONE}")
    failed = not dry_run and any(outcome != change.done for outcome in outcomes)
    return ExitCode.CHECK_FAILED if failed else ExitCode.OK
