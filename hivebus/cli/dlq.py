"""`hivebus dlq`: the messages that were given up, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from hivebus.cli.app import App
from hivebus.cli.link import LOOK, Link, as_json, connect, run
from hivebus.cli.options import command, group
from hivebus.cli.output import document, duration, json_text, line, preview, shown_ids, table
from hivebus.errors import InvalidMessage, NotFound
from hivebus.transport import Located

HEAD = ("ID", "AGE", "AGENT", "TYPE", "TRIES", "REASON", "FROM", "PREVIEW")


@group("dlq", examples=["hivebus dlq list", "hivebus dlq show 1f0c"])
def dlq() -> None:
    """Look at the dead letters.

    They are kept for 30 days.
    """


@command("list", examples=["hivebus dlq list", "hivebus dlq list --agent pm-agent --json"])
@click.option(
    "--limit", type=click.IntRange(1, LOOK), default=100, show_default=True, help="At most that many an inbox."
)
def list_letters(app: App, *, limit: int) -> None:
    """List dead letters, newest first.

    Of all inboxes; with --agent, of that one.
    """
    places = run(_dead(app, limit))
    if app.as_json:
        document("dlq.list", {"messages": [facts for _, facts in places]})
        return
    ids = shown_ids([place.message_id for place, _ in places])
    table(HEAD, [[shown, *_row(place, facts)] for shown, (place, facts) in zip(ids, places, strict=True)])
    if not places:
        app.note("no dead letters")


@command("show", examples=["hivebus dlq show 1f0c", "hivebus dlq show 1f0c --json | jq .message"])
@click.argument("message_id", metavar="ID")
def show(app: App, *, message_id: str) -> None:
    """Show one dead letter: why it was given up, and the whole message.

    The beginning of an ID will do.
    """
    letters = [facts for place, facts in run(_dead(app, LOOK)) if place.message_id.startswith(message_id)]
    exact = [facts for facts in letters if facts["message_id"] == message_id] or letters
    if not exact:
        raise NotFound(f"no dead letter {message_id!r}", hint="hivebus dlq list")
    if len(exact) > 1:
        what = f"{message_id!r} is the beginning of {len(exact)} dead letters"
        raise NotFound(what, hint="give more of the id, or --agent")
    if app.as_json:
        document("dlq.show", exact[0])
        return
    for name in ("message_id", "agent", "reason", "attempts"):
        line(f"{name:12}{exact[0][name]}")
    line(f"message     {json_text(exact[0]['message'])}")


async def _dead(app: App, limit: int) -> list[tuple[Located, dict[str, object]]]:
    async with connect(app) as link:
        letters = link.dead_letters()
        found = [place for inbox in await _inboxes(app, link) for place in await letters.dead(inbox, limit=limit)]
        found.sort(key=lambda place: place.at or 0, reverse=True)
        return [(place, _facts(link, place)) for place in found]


async def _inboxes(app: App, link: Link) -> Sequence[str]:
    # Only the flag narrows the list: an operator whose shell belongs to an agent still sees everything.
    if app.flags.get("agent"):
        return [app.agent]
    return await link.inspectable(to="list inboxes").inboxes()


def _facts(link: Link, place: Located) -> dict[str, object]:
    message = link.message(place.data)
    return {
        "message_id": place.message_id,
        "agent": place.inbox,
        "reason": place.reason,
        "attempts": place.attempts,
        # What is no message is shown as the text that it is.
        "message": (place.data or b"").decode(errors="replace")
        if isinstance(message, InvalidMessage)
        else as_json(message),
    }


def _row(place: Located, facts: dict[str, object]) -> list[object]:
    message = facts["message"]
    age = duration(None if place.at is None else time.time() - place.at)
    if not isinstance(message, dict):
        return [age, place.inbox, None, place.attempts, place.reason, None, preview(message)]
    return [
        age,
        place.inbox,
        message["message_type"],
        place.attempts,
        place.reason,
        message["from_agent"],
        preview(message["body"]["content"]),
    ]


dlq.add_command(list_letters)
dlq.add_command(show)
