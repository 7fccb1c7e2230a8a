"""`hivebus inbox`: what waits and what is held, without taking anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.link import Link, as_json, connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, duration, preview, shown_ids, table
from hivebus.errors import InvalidMessage
from hivebus.transport import Located

HEAD = ("ID", "AGE", "FROM", "TYPE", "PRIORITY", "STATE", "PREVIEW")


@command(
    "inbox",
    examples=["hivebus inbox --agent pm-agent", "hivebus inbox --json | jq -r '.messages[].body.content'"],
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Show at most that many.")
def inbox(app: App, *, limit: int) -> None:
    """List what waits for you and what you hold; takes nothing.

    In the order of hand-out. What consumers of yours hold is listed with the rest of its lease.
    """
    run(_inbox(app, limit))


async def _inbox(app: App, limit: int) -> None:
    name = app.agent
    async with connect(app) as link:
        places = await link.inspectable(to="list an inbox").peek(name, limit=limit)
        if app.as_json:
            document("inbox", _facts(link, places))
            return
        ids = shown_ids([place.message_id for place in places])
        table(HEAD, [[shown, *_row(link, place)] for shown, place in zip(ids, places, strict=True)])
    held = sum(place.state == "delivered" for place in places)
    app.note(f"{len(places) - held} waiting, {held} held" + (" (there may be more)" if len(places) == limit else ""))


def _facts(link: Link, places: Sequence[Located]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    leased: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    for place in places:
        message = link.message(place.data)
        if isinstance(message, InvalidMessage):
            broken.append({"message_id": place.message_id, "why": message.why})
        elif place.state == "delivered":
            leased.append(
                {
                    "message_id": place.message_id,
                    "attempt": place.attempts,
                    "lease_seconds": place.lease_seconds,
                    "consumer": place.consumer,
                    "message": as_json(message),
                }
            )
        else:
            messages.append(as_json(message))
    facts: dict[str, Any] = {"messages": messages, "leased": leased}
    return {**facts, "broken": broken} if broken else facts


def _row(link: Link, place: Located) -> list[object]:
    age = duration(None if place.at is None else time.time() - place.at)
    message = link.message(place.data)
    if isinstance(message, InvalidMessage):
        return [age, None, None, None, _state(place), f"(broken: {message.why})"]
    return [
        age,
        message.from_agent,
        message.message_type,
        message.priority.value,
        _state(place),
        preview(message.content),
    ]


def _state(place: Located) -> str:
    if place.state == "delivered":
        return f"held {duration(place.lease_seconds) or '?'}"
    if place.state == "retrying":
        return f"retry in {duration(place.due_seconds) or '?'}"
    return place.state
