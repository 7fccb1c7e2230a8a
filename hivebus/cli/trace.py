"""`hivebus trace`: what became of one message and of its conversation, as the queues know it now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.link import Link, connect, find, run
from hivebus.cli.options import command
from hivebus.cli.output import document, duration, line, table, warn
from hivebus.cli.tree import show_thread, thread_facts
from hivebus.errors import NotFound
from hivebus.message_status import status_of
from hivebus.settings import leg_of
from hivebus.threads import Threads
from hivebus.transport import Located


@command(
    "trace",
    examples=["hivebus trace 1f0c2f3a-77ab-4c1d-9d55-0c8c1a2b3c4d", "hivebus trace 1f0c --agent pm-agent --json"],
)
@click.argument("message_id", metavar="ID")
def trace(app: App, *, message_id: str) -> ExitCode:
    """Show what became of one message, and its conversation.

    With the agent known, the beginning of an ID will do; otherwise every inbox is asked for the whole ID.
    A time is shown where the server recorded one. An unknown message: exit code 1.

    The conversation is a tree: below each message stand its answers. From its first message on, as long as messages
    are kept (24 h), 10,000 of each inbox are looked at and 50,000 in all, those who take part first; besides 1,000
    dead letters of each, and the last 200 answers that an agent waited for.
    """
    return run(_trace(app, message_id))


async def _trace(app: App, message_id: str) -> ExitCode:
    async with connect(app) as link:
        places = await _places(app, link, message_id)
        threads = Threads(link.transport, read=link.codec.decode)
        thread = await threads.of(places)
    message_id = places[0].message_id if places else message_id
    status = status_of(message_id, places)
    leg = leg_of(app.settings.url)
    events = [event for place in places for event in _events(place, leg)]
    if app.as_json:
        facts = {"message_id": message_id, "state": status.state, "attempts": status.attempts, "events": events}
        turns = {"thread": thread_facts(thread)} if len(thread) > 1 else {}
        document("trace", {**facts, **turns})
    elif places:
        line(f"{message_id}  {status.state}  attempts: {status.attempts}")
        table(("AT", "EVENT", "LEG", "AGENT", "DETAIL"), [_row(event) for event in events])
        if len(thread) > 1:
            show_thread(thread, traced=message_id)
    if not threads.is_complete:
        app.note("note: the conversation may go on in messages that were not looked at: there are too many")
    if not places:
        warn(f"no inbox knows {message_id}: it was never sent, or it was settled more than an hour ago")
    return ExitCode.OK if places else ExitCode.CHECK_FAILED


async def _places(app: App, link: Link, message_id: str) -> Sequence[Located]:
    inspectable = link.inspectable(to="find messages")
    places = await inspectable.locate([message_id], await inspectable.inboxes())
    if places or not app.identity.agent:
        return places
    try:
        return await find(link, [message_id], [app.identity.agent])
    except NotFound:
        return []


def _events(place: Located, leg: str) -> list[dict[str, Any]]:
    accepted = {"at": _at(place.at), "event": "accepted", "leg": leg, "agent": place.inbox}
    if place.state == "queued":
        return [{**accepted, "event": "queued"}] if not place.attempts else [accepted, _now(place, leg)]
    return [accepted, _now(place, leg)]


def _now(place: Located, leg: str) -> dict[str, Any]:
    facts = {
        "attempts": place.attempts or None,
        "consumer": place.consumer,
        "reason": place.reason,
        "lease_seconds": place.lease_seconds,
        "due_seconds": place.due_seconds,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    return {"at": None, "event": place.state, "leg": leg, "agent": place.inbox, **known}


def _row(event: dict[str, Any]) -> list[object]:
    details = [f"{name} {event[name]}" for name in ("consumer", "reason") if event.get(name)]
    details += [f"lease {duration(event['lease_seconds'])}"] if event.get("lease_seconds") is not None else []
    details += [f"due in {duration(event['due_seconds'])}"] if event.get("due_seconds") is not None else []
    return [event["at"], event["event"], event["leg"], event["agent"], ", ".join(details) or None]


def _at(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
