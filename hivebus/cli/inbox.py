"""`hivebus inbox`: what waits and what is held, without taking anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.filters import Filter, filter_of, filter_options
from hivebus.cli.link import LOOK, Link, as_json, connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, duration, preview, shown_ids, table
from hivebus.cli.pooling import held_in_pools, known_inbox
from hivebus.cli.taking import is_mine, is_ours
from hivebus.errors import InvalidMessage
from hivebus.pools import check_pool
from hivebus.transport import Located

HEAD = ("ID", "AGE", "FROM", "TYPE", "PRIORITY", "STATE", "PREVIEW")


@command(
    "inbox",
    examples=["hivebus inbox --agent pm-agent", "hivebus inbox --json | jq -r '.messages[].body.content'"],
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Show at most that many that wait."
)
@filter_options
@click.option("--pool", metavar="POOL", help="Look into the inbox of this pool instead.")
def inbox(
    app: App,
    *,
    limit: int,
    types: tuple[str, ...],
    senders: tuple[str, ...],
    priorities: tuple[str, ...],
    pool: str | None,
) -> None:
    """List what you hold and what waits for you; takes nothing.

    What you hold comes first, with the rest of its lease: whoever lost track finds its work again, and settles
    it by its ID. What you hold of a pool is among it. What waits follows in the order of hand-out.

    --type, --from and --priority look through the first 1000 messages, held and waiting, and show what fits.
    """
    wanted = filter_of(app, types=types, senders=senders, priorities=priorities)
    run(_inbox(app, limit, None if pool is None else check_pool(pool, field="--pool"), wanted))


async def _inbox(app: App, limit: int, pool: str | None, wanted: Filter) -> None:
    # Whose work it is matters in a pool too, if anybody said so.
    agent = app.agent if pool is None else app.identity.agent or ""
    async with connect(app) as link:
        name = agent if pool is None else await known_inbox(link, pool)
        inspectable = link.inspectable(to="list an inbox")
        [count] = await inspectable.counts([name])
        places = await inspectable.peek(name, limit=max(LOOK, limit) if wanted else limit)
        held = [place for place in places if _is_held(place)]
        if count.in_flight > len(held):
            # It hides behind messages of a higher level that wait.
            held = list(await inspectable.held(name, limit=LOOK))
        if pool is None:
            shared = await held_in_pools(link, agent)
            held += shared
        if wanted:
            places, held = _fitting(link, places, wanted), _fitting(link, held, wanted)
        held.sort(key=lambda place: not _is_ours(place, agent))
        waiting = [place for place in places if not _is_held(place)][:limit]
        if app.as_json:
            document("inbox", _facts(link, [*held, *waiting], own=name))
            return
        ids = shown_ids([place.message_id for place in (*held, *waiting)])
        table(HEAD, [[shown, *_row(link, place, agent)] for shown, place in zip(ids, (*held, *waiting), strict=True)])
    more = f" ({count.waiting + count.retrying} in all)" if count.waiting + count.retrying > len(waiting) else ""
    app.note(f"{len(waiting)} waiting{more}, {len(held) if wanted else max(len(held), count.in_flight)} held")
    ours = [place for place in held if _is_ours(place, agent)]
    if ours:
        app.note(_reminder(ours))


def _fitting(link: Link, places: Sequence[Located], wanted: Filter) -> list[Located]:
    messages = ((place, link.message(place.data)) for place in places)
    return [place for place, each in messages if not isinstance(each, InvalidMessage) and wanted.wants(each)]


def _reminder(ours: Sequence[Located]) -> str:
    """Return what to do with what is held: it is somebody's unfinished work, most likely one's own."""
    first = min(place.lease_seconds or 0 for place in ours)
    which = "1 message, for" if len(ours) == 1 else f"{len(ours)} messages, the first for"
    return (
        f"-- you hold {which} {duration(first)}: hivebus ack ID | hivebus retry ID --in 5m"
        " | hivebus reject ID WHY | hivebus extend ID"
    )


def _is_ours(place: Located, agent: str) -> bool:
    return is_ours(place.consumer) and is_mine(place.consumer, agent)


def _is_held(place: Located) -> bool:
    return place.state == "delivered"


def _facts(link: Link, places: Sequence[Located], *, own: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    leased: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    for place in places:
        message = link.message(place.data)
        if isinstance(message, InvalidMessage):
            broken.append({"message_id": place.message_id, "why": message.why})
        elif _is_held(place):
            leased.append(
                {
                    "message_id": place.message_id,
                    "attempt": place.attempts,
                    "lease_seconds": place.lease_seconds,
                    "consumer": place.consumer,
                    "message": as_json(message),
                    **({"pool": place.inbox[1:]} if place.inbox != own else {}),
                }
            )
        else:
            messages.append(as_json(message))
    facts: dict[str, Any] = {"messages": messages, "leased": leased}
    return {**facts, "broken": broken} if broken else facts


def _row(link: Link, place: Located, agent: str) -> list[object]:
    age = duration(None if place.at is None else time.time() - place.at)
    message = link.message(place.data)
    if isinstance(message, InvalidMessage):
        return [age, None, None, None, _state(place, agent), f"(broken: {message.why})"]
    return [
        age,
        message.from_agent,
        message.message_type,
        message.priority.value,
        _state(place, agent),
        preview(message.content),
    ]


def _state(place: Located, agent: str) -> str:
    if _is_held(place):
        # The row does not say where it came from, so the state of what came from a pool does.
        where = f" {place.inbox}" if place.inbox[:1] == "@" else ""
        return f"{'held' if _is_ours(place, agent) else 'at work'} {duration(place.lease_seconds) or '?'}{where}"
    if place.state == "retrying":
        return f"retry in {duration(place.due_seconds) or '?'}"
    return place.state
