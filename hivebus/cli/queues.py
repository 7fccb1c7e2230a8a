"""`hivebus queues`: what waits in every inbox."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.link import connect, run
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, duration, table

HEAD = ("AGENT", "WAITING", "IN FLIGHT", "RETRYING", "SCHEDULED", "DEAD", "OLDEST", "CONSUMERS")
CLEAR = "\x1b[H\x1b[2J"


@command("queues", examples=["hivebus queues", "hivebus queues --watch 5s"])
@click.option(
    "--watch",
    type=duration_type(lowest=0.2),
    is_flag=False,
    flag_value="2s",
    metavar="[EVERY]",
    help="Look again, until Ctrl-C.",
)
def queues(app: App, *, watch: float | None) -> None:
    """Count what waits in every inbox.

    Every inbox that ever held or awaited a message is listed. With --watch and --json: one document a line.
    """
    if watch is None:
        _show(app, run(_counts(app)))
        return
    try:
        while True:
            counts = run(_counts(app))
            if sys.stdout.isatty() and not app.as_json:
                sys.stdout.write(CLEAR)
            _show(app, counts)
            sys.stdout.flush()
            app.quiet = True
            time.sleep(watch)
    except KeyboardInterrupt:
        return  # a watch has no other end


async def _counts(app: App) -> list[dict[str, Any]]:
    async with connect(app) as link:
        inspectable = link.inspectable(to="count messages")
        names = await inspectable.inboxes()
        counts = await inspectable.counts(names)
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
        }
        for name, each in zip(names, counts, strict=True)
    ]


def _show(app: App, counts: Sequence[Mapping[str, Any]]) -> None:
    if app.as_json:
        document("queues", {"queues": counts})
        return
    table(HEAD, [[duration(value) if "seconds" in name else value for name, value in each.items()] for each in counts])
    if not counts:
        app.note("no inbox yet: nothing was ever sent or awaited here")
