"""`hivebus bridge`: one process of a machine that writes the legacy leg for all others."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command, group
from hivebus.cli.output import document, line, warn
from hivebus.roads import open_roads
from hivebus_migration.bridge import Bridge, Summary
from hivebus_migration.bridge_lock import BridgeLock

GIVES_WAY = 10
"""By how much less urgent its work is than that of agents, as `nice` counts."""


@group("bridge", examples=["hivebus bridge run", "hivebus bridge run --json > bridge.json"])
def bridge() -> None:
    """Write the legacy leg for other processes."""


@command(
    "run",
    examples=["hivebus bridge run", "HIVEBUS_LEGACY_URL=tmux://agent-hive hivebus bridge run --namespace staging"],
)
def run(app: App) -> ExitCode:
    """Write copies to the legacy leg for all senders of this machine, until Ctrl-C or SIGTERM.

    While it runs, senders leave their copies for the legacy leg beside the ledger and are done. It also
    reads the shadow inboxes of the agents in stage dualwrite, so that both legs can be compared. Either
    server may be away: it is waited for. A copy that is older than 30 s is given up. It gives way to
    agents: where the processor is busy, copies wait and senders do not.
    """
    ledger = Path(app.settings.ledger_path())
    with BridgeLock(ledger):
        summary = asyncio.run(_run(app, ledger))
    if app.as_json:
        document("bridge.run", summary._asdict())
    else:
        line(f"wrote {summary.written} copies, {summary.failed} failed; saw {summary.seen} in shadow inboxes")
    return ExitCode.OK


async def _run(app: App, ledger: Path) -> Summary:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # In a thread, since starting the embedded server blocks.
    bridge = Bridge(await asyncio.to_thread(open_roads, app.settings), ledger=ledger)
    # Not before: a server that was started with it does not give way to anybody.
    os.nice(GIVES_WAY)

    def ready() -> None:
        warn(f"hivebus: the bridge is ready: process {os.getpid()}, {_state(bridge)}, ledger {ledger}")

    return await bridge.run(stop, ready=ready)


def _state(bridge: Bridge) -> str:
    legs = (bridge.main, bridge.legacy)
    return ", ".join(f"{leg.name} {'connected' if leg.capabilities else 'away'}" for leg in legs)


bridge.add_command(run)
