"""`hivebus drill`: breaks a private server on purpose, and shows that no message suffers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command
from hivebus.cli.output import document, line, warn
from hivebus.errors import ConfigError
from hivebus_redis.embedded import binary

EVERY = 0.3
"""Seconds from one fault to the next."""


@command(
    "drill",
    examples=["hivebus drill --minutes 5", "hivebus drill --faults server,consumer.kill --seed 7 --json"],
    bus=False,
)
@click.option("--minutes", type=click.FloatRange(min=0.02), default=1.0, show_default=True, help="For how long.")
@click.option("--server", metavar="PROGRAM", help="redis-server, valkey, or a path; else the one hivebus would start.")
@click.option("--faults", metavar="NAMES", help="Only these, such as server,consumer.kill; 'list' shows all.")
@click.option("--seed", type=int, default=1, show_default=True, help="What messages and faults are drawn from.")
@click.option(
    "--level",
    type=click.Choice(["fsync", "memory"]),
    default="fsync",
    show_default=True,
    help="How durable the server is set up; at memory, what is lost is counted and not judged.",
)
@click.option("--every", type=click.FloatRange(min=0.05), default=EVERY, show_default=True, help="Seconds per fault.")
def drill(
    app: App, *, minutes: float, server: str | None, faults: str | None, seed: int, level: str, every: float
) -> ExitCode:
    """Rehearse disasters on a private server, and judge every message.

    Producers, consumers and a server of its own run in a temporary folder, and are killed, paused,
    cut off and starved. Books outside the server say what happened. Nothing of yours is touched.
    Exit 0 when every promise held; 1 otherwise, and the folder with the books is kept and named.
    """
    # Imported here: `hivebus --help` and a wrong option need none of it.
    from hivebus_redis.drill.campaign import fight
    from hivebus_redis.drill.faults import FAULTS, choose
    from hivebus_redis.drill.report import facts_of, lines_of

    if faults == "list":
        for name, fault in FAULTS.items():
            line(f"{name:28} {(type(fault).__doc__ or '').splitlines()[0]}")
        return ExitCode.OK
    chosen = choose([name.strip() for name in (faults or "").split(",") if name.strip()])
    path = program(server)
    folder = Path(tempfile.mkdtemp(prefix="hb-drill-"))
    kept = True
    try:
        campaign = fight(
            folder,
            program=path,
            level=level,
            seconds=minutes * 60,
            faults=chosen,
            every=every,
            seed=seed,
            told=app.note,
        )
        kept = bool(campaign.findings)
    finally:
        if kept:
            warn(f"hivebus: the books of this drill are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if app.as_json:
        where = {"seed": seed, "server": path, "folder": str(folder) if kept else None}
        document("drill", {**where, **facts_of(campaign)})
    else:
        for text in lines_of(campaign):
            line(text)
    return ExitCode.CHECK_FAILED if campaign.findings else ExitCode.OK


def program(wanted: str | None) -> str:
    """Return the path of the server to start: what was named, or what hivebus would start itself."""
    if wanted is None:
        return binary.choose(used_before=None)
    name = {"valkey": "valkey-server", "redis": "redis-server"}.get(wanted, wanted)
    found = shutil.which(name)
    if found is None and name == "valkey-server":
        found = binary.choose(used_before=None)
    if found is None:
        raise ConfigError(
            f"there is no server program {wanted!r}",
            cause="it is no file that can be run, and not on PATH",
            hint="hivebus drill --server redis-server, or a path, or without --server",
        )
    return found
