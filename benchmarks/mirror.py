"""What a mirror on the other leg costs a sender: six windows, a bridge that writes them, one sender."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from benchmarks.server import empty
from hivebus import Bus

AGENTS = tuple(f"agent-{number}" for number in range(1, 7))
PER_PANE = 2.0
"""Messages a second for each window."""
SECONDS = 1.0
BLOCKS = 40
"""So many blocks of so many seconds each, without and with a mirror.

The first message of a block is not measured: its sender has slept for a block of the other's, and looks at the server
again, on either side. One in twelve, it would be what the 95th percentile is about.
"""
CALM = 0.5
"""Seconds in which the windows finish what the block before left for them."""
CONTENT = "x" * 200


def cost(url: str) -> tuple[float, float]:
    """Return the 95th percentile of `await bus.send` in ms, without and with a mirror."""
    empty(url)
    with _mirrored(url) as environment:
        kept = dict(os.environ)
        os.environ.update(environment)
        try:
            return asyncio.run(_both(url))
        finally:
            os.environ.clear()
            os.environ.update(kept)


async def _both(url: str) -> tuple[float, float]:
    """Send in short blocks, in turns: whatever else happens on the machine happens to both."""
    waits: tuple[list[float], list[float]] = ([], [])
    async with Bus(url, agent="producer") as mirrored:
        del os.environ["HIVEBUS_LEGACY_URL"]
        async with Bus(url, agent="producer") as alone:
            for _ in range(BLOCKS):
                for bus, took in zip((alone, mirrored), waits, strict=True):
                    await _block(bus, took)
                    await asyncio.sleep(CALM)
    return _p95(waits[0]), _p95(waits[1])


async def _block(bus: Bus, took: list[float]) -> None:
    waits: list[float] = []
    for agent in AGENTS * int(PER_PANE * SECONDS):
        began = time.perf_counter()
        await bus.send(agent, CONTENT)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(1 / (PER_PANE * len(AGENTS)))
    took += waits[1:]


def _p95(waits: list[float]) -> float:
    return quantiles(waits, n=100)[94] * 1000


@contextmanager
def _mirrored(url: str) -> Iterator[Mapping[str, str]]:
    """Yield the environment of senders whose agents are live, with a window for each and a bridge that writes them."""
    # The programs in the windows write down what they have seen when those are closed.
    with tempfile.TemporaryDirectory(prefix="hb-mirror-", ignore_cleanup_errors=True) as folder:
        socket = Path(folder) / "tmux"
        environment = {
            "XDG_STATE_HOME": folder,
            "HIVEBUS_URL": url,
            "HIVEBUS_LEDGER": str(Path(folder) / "ledger.db"),
            "HIVEBUS_LEGACY_URL": f"tmux://agent-hive?socket_path={socket}&settle=50ms",
        }
        everywhere = {**os.environ, **environment}
        program = [sys.executable, "-m", "hivebus.cli"]
        try:
            _open_windows(environment, program)
            for step in (["start"], ["promote", "--to", "live"]):
                subprocess.run(
                    [*program, "migrate", *step, *AGENTS, "--yes"], env=everywhere, check=True, capture_output=True
                )
            bridge = subprocess.Popen(
                [*program, "bridge", "run"], env=everywhere, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            try:
                assert bridge.stderr is not None
                while b"ready" not in (said := bridge.stderr.readline()):
                    if not said:
                        raise SystemExit("the bridge did not start")
                yield environment
            finally:
                bridge.terminate()
                bridge.wait()
        finally:
            subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True, check=False)


def _open_windows(environment: Mapping[str, str], program: list[str]) -> None:
    from hivebus_tmux.place import parse_place
    from hivebus_tmux.windows import open_window

    for agent in AGENTS:
        words = [*program, "tail", "--agent", agent]
        place = parse_place(environment["HIVEBUS_LEGACY_URL"])
        open_window(place, agent, words, mirror=True, environment=environment, config=Path("/dev/null"))
