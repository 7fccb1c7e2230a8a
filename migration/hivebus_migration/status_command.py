"""`hivebus migrate status`: the stage of every agent, and what its two roads delivered so far."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, duration, table, warn
from hivebus.errors import HivebusError, NotFound, Unavailable
from hivebus.settings import leg_of
from hivebus_migration.comparison import Comparison, compare
from hivebus_migration.facts import now
from hivebus_migration.main_road import main_road
from hivebus_migration.records import read_records
from hivebus_migration.stage_file import StageFile
from hivebus_migration.stages import Stage, Stages, read_stages, stage_of

CLEAR = "\x1b[H\x1b[2J"
COUNTS = ("sent", "claimed", "proven", "lost", "unknown", "pending")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where everybody stands.

    Attributes:
        stages: the entries that there are.
        agents: who has a stage, an inbox, or messages in the ledger.
        legs: the names of both roads.
        compared: what the ledger says; None where there is none.
        fresh: whether the directory said so, and not a file from when it last answered.
    """

    stages: Stages
    agents: Sequence[str]
    legs: Sequence[str]
    compared: Comparison | None
    fresh: bool


@command("status", examples=["hivebus migrate status", "hivebus migrate status --watch 5s --since 1h"])
@click.option("--since", type=duration_type(lowest=0), default="24h", show_default=True, help="Count from then on.")
@click.option(
    "--watch",
    type=duration_type(lowest=0.2),
    is_flag=False,
    flag_value="2s",
    metavar="[EVERY]",
    help="Look again, until Ctrl-C.",
)
def status(app: App, *, since: float, watch: float | None) -> None:
    """Show the stage of every agent, and how many of its messages each road is proven to have delivered.

    While the server is away, the stages that this machine last knew are shown. With --watch and --json: one
    document a line.
    """
    if watch is None:
        _show(app, asyncio.run(_standing(app, since)))
        return
    try:
        while True:
            standing = asyncio.run(_standing(app, since))
            if sys.stdout.isatty() and not app.as_json:
                sys.stdout.write(CLEAR)
            _show(app, standing)
            sys.stdout.flush()
            app.quiet = True
            time.sleep(watch)
    except KeyboardInterrupt:
        return  # a watch has no other end


async def _standing(app: App, since: float) -> Standing:
    path = Path(app.settings.ledger_path())
    compared = _compared(path, since)
    seen = set(compared.agents) if compared else set()
    try:
        async with main_road(app) as road:
            stages = await read_stages(road.directory)
            return Standing(stages, sorted(seen | set(await road.agents())), road.legs, compared, fresh=True)
    except Unavailable as error:
        known = StageFile(path, namespace=app.settings.namespace).read()
        if known is None:
            raise
        warn(f"{error.what}: these are the stages that this machine last knew")
    legs = [leg_of(url) for url in (app.settings.url, app.settings.legacy_url) if url]
    return Standing(known, sorted(seen | set(known)), legs, compared, fresh=False)


def _compared(path: Path, since: float) -> Comparison | None:
    moment = now()
    try:
        return compare(read_records(path, since=moment.wall - int(since * 1e9)), now=moment)
    except NotFound:
        return None  # nothing was sent yet, and the stages are worth showing all the same
    except HivebusError as error:
        warn(f"{error.what}: no counts")
        return None


# --- What is shown -----------------------------------------------------------------------------------


def _show(app: App, standing: Standing) -> None:
    rows = [(agent, stage_of(agent, standing.stages), _counts(agent, standing)) for agent in standing.agents]
    if app.as_json:
        agents = [{"agent": agent, **_facts(stage), "legs": counts} for agent, stage, counts in rows]
        document("migrate.status", {"agents": agents, "fresh": standing.fresh})
        return
    legs = [f"{leg} proven".upper() for leg in standing.legs]
    table(
        ("AGENT", "STAGE", "EPOCH", "SINCE", "BY", *legs),
        [
            (
                agent,
                stage.name,
                stage.epoch,
                duration(None if stage.at is None else max(0.0, time.time() - stage.at)),
                stage.by,
                *(_share(counts.get(leg)) for leg in standing.legs),
            )
            for agent, stage, counts in rows
        ],
    )
    if not rows:
        app.note("no agent has an inbox or a stage yet: hivebus migrate start AGENT")


def _counts(agent: str, standing: Standing) -> dict[str, dict[str, int]]:
    compared = standing.compared.agents.get(agent) if standing.compared else None
    if compared is None:
        return {}
    return {leg: {name: getattr(found.tally, name) for name in COUNTS} for leg, found in compared.legs.items()}


def _facts(stage: Stage) -> dict[str, Any]:
    at = None if stage.at is None else datetime.fromtimestamp(stage.at, UTC).isoformat(timespec="seconds")
    return {
        "stage": stage.name,
        "epoch": stage.epoch,
        "since": at and at.replace("+00:00", "Z"),
        "by": stage.by,
        "reason": stage.reason,
    }


def _share(counts: Mapping[str, int] | None) -> str | None:
    return f"{counts['proven']}/{counts['sent']}" if counts else None
