"""`hivebus dlq`: the messages that were given up, and why."""

from __future__ import annotations

import click

from hivebus.cli.app import App
from hivebus.cli.dlq_changes import purge, requeue
from hivebus.cli.letters import Letter, every_letter, one_of, show_table
from hivebus.cli.link import LOOK, connect, run
from hivebus.cli.options import command, group
from hivebus.cli.output import document, json_text, line


@group("dlq", examples=["hivebus dlq list", "hivebus dlq requeue --reason max_retries --dry-run"])
def dlq() -> None:
    """Look at the dead letters, queue them again, or delete them.

    They are kept for 30 days.
    """


@command("list", examples=["hivebus dlq list", "hivebus dlq list --agent pm-agent --json"])
@click.option(
    "--limit", type=click.IntRange(1, LOOK), default=100, show_default=True, help="At most that many an inbox."
)
def list_letters(app: App, *, limit: int) -> None:
    """List dead letters, newest first.

    Of all inboxes; with --agent, of that one. Beside the REASON stands how often it was requeued before. A
    message that came without an id is named by its place, dead/....
    """
    letters = sorted(run(_letters(app, limit)), key=lambda each: each.place.at or 0, reverse=True)
    if app.as_json:
        document("dlq.list", {"messages": [each.facts for each in letters]})
        return
    show_table(letters)
    if not letters:
        app.note("no dead letters")


@command("show", examples=["hivebus dlq show 1f0c", "hivebus dlq show 1f0c --json | jq .message"])
@click.argument("message_id", metavar="ID")
def show(app: App, *, message_id: str) -> None:
    """Show one dead letter: why it was given up, and the whole message.

    The beginning of an ID will do.
    """
    facts = one_of(run(_letters(app, None)), message_id).facts
    if app.as_json:
        document("dlq.show", facts)
        return
    for name in ("message_id", "letter", "agent", "reason", "attempts", "requeued"):
        line(f"{name:12}{facts[name]}")
    line(f"message     {json_text(facts['message'])}")


async def _letters(app: App, limit: int | None) -> list[Letter]:
    async with connect(app) as link:
        return [each async for each in every_letter(app, link, limit=limit)]


for _each in (list_letters, show, requeue, purge):
    dlq.add_command(_each)
