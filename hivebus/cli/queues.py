"""`hivebus queues`: what waits in every inbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.link import Link, connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, duration, table
from hivebus.cli.queues_trim import trim
from hivebus.cli.watching import watch_option, watched
from hivebus.tidying import Tidying

HEAD = ("AGENT", "WAITING", "IN FLIGHT", "RETRYING", "SCHEDULED", "DEAD", "OLDEST", "CONSUMERS")


class _Queues(click.Group):
    """Counts when it is called without a command of its own."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(invoke_without_command=True, **attributes)


@command("queues", examples=["hivebus queues --watch 5s", "hivebus queues trim --dry-run"], cls=_Queues)
@watch_option()
def queues(app: App, *, watch: float | None) -> None:
    """Count what waits in every inbox.

    Every inbox that ever held or awaited a message is listed. With --watch and --json: one document a line.
    LOST is shown when somebody else has removed messages from the server that were unread or in flight.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return

    def look() -> Callable[[], None]:
        counts = run(_counts(app))
        return lambda: _show(app, counts)

    watched(app, watch, look)


async def _counts(app: App) -> list[dict[str, Any]]:
    async with connect(app) as link:
        inspectable = link.inspectable(to="count messages")
        names = await inspectable.inboxes()
        counts = await inspectable.counts(names)
        lost = await _lost(link, names)
    return [
        {
            "agent": name,
            "waiting": each.waiting,
            "in_flight": each.in_flight,
            "retrying": each.retrying,
            "scheduled": each.scheduled,
            "dead": each.dead,
            "oldest_waiting_seconds": each.oldest_waiting_seconds,
            "consumers": each.consumers,
            **({"lost": lost[name]} if lost.get(name) else {}),
        }
        for name, each in zip(names, counts, strict=True)
    ]


async def _lost(link: Link, names: Sequence[str]) -> Mapping[str, int]:
    if not isinstance(link.transport, Tidying):
        return {}
    holdings = await link.transport.holding(names)
    return {name: holding.lost for name, holding in zip(names, holdings, strict=True)}


def _show(app: App, counts: Sequence[Mapping[str, Any]]) -> None:
    if app.as_json:
        document("queues", {"queues": counts})
        return
    has_losses = any("lost" in each for each in counts)
    rows = [[duration(value) if "seconds" in name else value for name, value in each.items()] for each in counts]
    if has_losses:
        rows = [[*row, 0][: len(HEAD) + 1] for row in rows]
    table((*HEAD, "LOST") if has_losses else HEAD, rows)
    if not counts:
        app.note("no inbox yet: nothing was ever sent or awaited here")


queues.add_command(trim)  # type: ignore[attr-defined]
