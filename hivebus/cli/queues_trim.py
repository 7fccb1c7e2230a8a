"""`hivebus queues trim`: forgets settled messages, and names what keeps others from being forgotten."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.asking import ask
from hivebus.cli.link import Link, connect, run
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, duration, table
from hivebus.errors import Unsupported
from hivebus.shedding import shed_older, shed_to
from hivebus.tidying import Blocker, Shed, Tidying
from hivebus.transport import Clock

HEAD = ("AGENT", "MESSAGES", "SIZE", "OLDEST", "NEWEST", "SIZE LEFT", "KEPT BACK BY")
EVER = 100 * 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may stay: settled messages that are younger, as long as all inboxes together take no more bytes."""

    older_than: float | None
    max_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """One inbox: what went or would go, what is left, and what was in the way."""

    agent: str
    gone: Shed
    bytes_left: int
    blockers: Sequence[Blocker]
    now: float


@command(
    "trim", examples=["hivebus queues trim --dry-run", "hivebus queues trim --agent pm-agent --older-than 1h --yes"]
)
@click.option(
    "--older-than", type=duration_type(lowest=0), metavar="D", help="Sent longer ago than that.  [default: 24h]"
)
@click.option("--max-bytes", metavar="SIZE", help="Until all inboxes take no more than that.  [default: 1GiB]")
@click.option("--dry-run", is_flag=True, help="Show what would go, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
def trim(app: App, *, older_than: float | None, max_bytes: str | None, dry_run: bool, yes: bool) -> None:
    """Forget settled messages that are old, or that take too much room.

    Of all inboxes; with --agent, of that one. With neither bound, those of the settings hold: retention and
    retention_bytes. What is unread, in flight, waiting for a retry or scheduled is never touched, and neither is
    what was settled behind it: KEPT BACK BY names it. Sizes are the server's estimate for all stored messages,
    settled or not; dead letters and ids are not in it.
    """
    bounds = _bounds(app, older_than, max_bytes)
    would = run(_trim(app, bounds, dry_run=True))
    messages = sum(each.gone.messages for each in would)
    if dry_run or not messages:
        _show(app, would, dry_run=dry_run)
        return
    if not yes:
        many = "1 settled message" if messages == 1 else f"{messages} settled messages"
        ask(app, f"Forget {many}?", what=f"forget {many}", show=lambda: _table(would))
    _show(app, run(_trim(app, bounds, dry_run=False)), dry_run=False)


def _bounds(app: App, older_than: float | None, max_bytes: str | None) -> Bounds:
    if older_than is None and max_bytes is None:
        return Bounds(older_than=app.settings.retention, max_bytes=app.settings.retention_bytes)
    return Bounds(older_than=older_than, max_bytes=None if max_bytes is None else _size(max_bytes))


def _size(text: str) -> int:
    from hivebus.setting_rules import size

    try:
        return size(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} must be a number of bytes, such as 1000000, 64MiB or 1GiB") from None


async def _trim(app: App, bounds: Bounds, *, dry_run: bool) -> list[Trimmed]:
    async with connect(app) as link:
        tidying = _tidying(link)
        inboxes = [app.chosen_inbox] if app.chosen_inbox else await link.inspectable(to="list inboxes").inboxes()
        gone = {inbox: Shed() for inbox in inboxes}
        if bounds.older_than is not None:
            gone = await shed_older(tidying, inboxes, older_than=bounds.older_than, dry_run=dry_run)
        if bounds.max_bytes is not None:
            gone = await shed_to(tidying, inboxes, max_bytes=bounds.max_bytes, gone=gone, dry_run=dry_run)
        now = await link.transport.now() if isinstance(link.transport, Clock) else time.time()
        return await _results(tidying, inboxes, bounds, gone, now, dry_run=dry_run)


def _tidying(link: Link) -> Tidying:
    if isinstance(link.transport, Tidying):
        return link.transport
    raise Unsupported(
        "this transport cannot forget settled messages", cause="it does not offer Tidying", hint="hivebus transports"
    )


async def _results(
    tidying: Tidying, inboxes: Sequence[str], bounds: Bounds, gone: dict[str, Shed], now: float, *, dry_run: bool
) -> list[Trimmed]:
    holdings = dict(zip(inboxes, await tidying.holding(inboxes), strict=True))
    left = {name: max(0, each.bytes - (gone[name].bytes if dry_run else 0)) for name, each in holdings.items()}
    # What is too young to go would not go either if nothing stood before it.
    before = now - (EVER if bounds.older_than is None else bounds.older_than)
    if bounds.max_bytes is not None and sum(left.values()) > bounds.max_bytes:
        before = now
    return [
        Trimmed(
            agent=name,
            gone=gone[name],
            bytes_left=left[name],
            blockers=[blocker for blocker in each.blockers if blocker.at <= before],
            now=now,
        )
        for name, each in holdings.items()
    ]


# --- Showing ---------------------------------------------------------------------------------------


def _show(app: App, results: Sequence[Trimmed], *, dry_run: bool) -> None:
    if not app.as_json:
        _table(results)
        return
    facts = {
        "dry_run": dry_run,
        "messages": sum(each.gone.messages for each in results),
        "bytes": sum(each.gone.bytes for each in results),
        "inboxes": [_facts(each) for each in results],
    }
    document("queues.trim", facts)


def _facts(result: Trimmed) -> dict[str, Any]:
    return {
        "agent": result.agent,
        "messages": result.gone.messages,
        "bytes": result.gone.bytes,
        "oldest": _moment(result.gone.first),
        "newest": _moment(result.gone.last),
        "bytes_left": result.bytes_left,
        "blocked_by": [
            {
                "kind": blocker.kind,
                "priority": blocker.priority,
                "group": blocker.group,
                "consumer": blocker.consumer,
                "message_id": blocker.message_id,
                "accepted": _moment(blocker.at),
                "held_seconds": blocker.held_seconds,
                "count": blocker.count,
            }
            for blocker in result.blockers
        ],
    }


def _table(results: Sequence[Trimmed]) -> None:
    table(
        HEAD,
        [
            [
                each.agent,
                each.gone.messages,
                _bytes(each.gone.bytes),
                _age(each, each.gone.first),
                _age(each, each.gone.last),
                _bytes(each.bytes_left),
                "; ".join(_sentence(each, blocker) for blocker in each.blockers) or None,
            ]
            for each in results
        ],
    )


def _sentence(result: Trimmed, blocker: Blocker) -> str:
    age = duration(result.now - blocker.at)
    group = "" if blocker.group == "main" else f" of group {blocker.group}"
    if blocker.kind == "held":
        return f"{blocker.consumer}{group} holds {blocker.message_id} since {duration(blocker.held_seconds)}"
    if blocker.kind == "retrying":
        return f"{blocker.message_id}{group} waits for a retry, sent {age} ago"
    return f"{blocker.count} unread{group} since {age}"


def _age(result: Trimmed, at: float | None) -> str | None:
    return None if at is None else duration(result.now - at)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _moment(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
