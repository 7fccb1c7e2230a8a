"""`hivebus replay`: sends a part of the past again, after showing what that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from hivebus import limits
from hivebus.cli.app import App
from hivebus.cli.asking import ask
from hivebus.cli.link import run
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, line, table

if TYPE_CHECKING:
    from hivebus.replaying import ReplayReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    since: float
    until: float
    ids: Sequence[str] | None
    types: Sequence[str] | None
    to: str | None
    rate: float | None
    label: str | None


@command(
    "replay",
    examples=[
        "hivebus replay --agent pm-agent --since 1h --dry-run",
        "hivebus replay -a pm-agent --since 1h --to qa-agent --rate 50",
    ],
)
@click.option("--since", type=duration_type(lowest=0), required=True, metavar="D", help="Sent no longer ago than that.")
@click.option("--until", type=duration_type(lowest=0), default=0.0, metavar="D", help="Sent no later than that ago.")
@click.option("--id", "ids", metavar="ID", multiple=True, help="Only this message; may be repeated.")
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only of this type; may be repeated.")
@click.option("--to", metavar="AGENT", help="Send them to this agent instead.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="So many a second.")
@click.option("--label", metavar="LABEL", help="Go on with an earlier run: what it sent is not stored again.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
def replay(
    app: App,
    *,
    since: float,
    until: float,
    ids: tuple[str, ...],
    types: tuple[str, ...],
    to: str | None,
    rate: float | None,
    label: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Send a part of an agent's history again.

    To --agent itself, or to another one. Each is a new message: with an id and a time of its own, the old id as
    its replay_of, and its time to live from now. Dead letters are no history; hivebus dlq requeue brings those
    back. What still waits in the inbox that it would go to is left out.
    """
    wish = Wish(since=since, until=until, ids=ids or None, types=types or None, to=to, rate=rate, label=label)
    looked = monotonic()
    would = run(_replay(app, wish, dry_run=True))
    if dry_run or not would.messages:
        _show(app, would)
        return
    if not yes:
        many = "1 message" if would.messages == 1 else f"{would.messages} messages"
        what = f"send {many} to {would.to}"
        ask(app, f"Send {many} to {would.to}?", what=what, show=lambda: _table(app, would))
    app.note(f"run {would.label}: when it is interrupted, --label {would.label} goes on where it was")
    # The same part of the past as was shown, whatever was sent since.
    passed = monotonic() - looked
    again = Wish(
        since=since + passed, until=until + passed, ids=wish.ids, types=wish.types, to=to, rate=rate, label=would.label
    )
    _show(app, run(_replay(app, again, dry_run=False)))


async def _replay(app: App, wish: Wish, *, dry_run: bool) -> ReplayReport:
    from hivebus.bus import Bus

    settings = app.settings
    app.name_server()
    source = app.chosen_inbox or app.agent
    # Each keeps its sender; who sends it again is not told.
    bus = Bus(settings.url, agent=source.removeprefix("@"), namespace=settings.namespace, on_full="wait")
    async with bus:
        return await bus.replay(
            source,
            since=wish.since,
            until=wish.until,
            ids=wish.ids,
            types=wish.types,
            to=None if wish.to is None else limits.check_owner(settings.name_of(wish.to), field="--to"),
            rate=wish.rate,
            label=wish.label,
            dry_run=dry_run,
        )


def _show(app: App, report: ReplayReport) -> None:
    if app.as_json:
        document("replay", _facts(report))
        return
    _table(app, report)
    if not report.dry_run and report.messages:
        known = f", {len(report.known)} were sent before" if report.known else ""
        line(f"sent {len(report.sent)} to {report.to}{known}")


def _facts(report: ReplayReport) -> dict[str, Any]:
    return {
        "agent": report.agent,
        "to": report.to,
        "label": report.label,
        "dry_run": report.dry_run,
        "messages": report.messages,
        "by_type": report.by_type,
        "first": _moment(report.first),
        "last": _moment(report.last),
        "waiting": report.waiting,
        "missing": report.missing,
        "sent": report.sent,
        "known": report.known,
    }


def _table(app: App, report: ReplayReport) -> None:
    table(("TYPE", "MESSAGES"), sorted(report.by_type.items()))
    if report.messages:
        app.note(f"{report.messages} messages, accepted from {_moment(report.first)} to {_moment(report.last)}")
    else:
        app.note("nothing of the history fits")
    if report.waiting:
        app.note(f"{report.waiting} more still wait in the inbox of {report.to}, and are left out")
    for missing in report.missing:
        app.note(f"not in this part of the history: {missing}")


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
