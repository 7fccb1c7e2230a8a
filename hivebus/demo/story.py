"""Starts the agents, kills one with messages in flight, starts it again, waits until all is handled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hivebus.demo.agent import Part
from hivebus.demo.tally import Tally, in_flight, tally
from hivebus.errors import HivebusError, Unavailable

AGENTS = (
    "pm-agent",
    "frontend-agent",
    "documentation-agent",
    "quality-agent",
    "integration-agent",
    "ops-agent",
)
VICTIM = "quality-agent"
MESSAGES_EACH = 400
RATE_EACH = 60.0
LEASE = 3.0
KILL_AFTER = 0.4
"""Share of the victim's own messages after which it may be killed."""
HIT = 5
"""How many messages the victim shall have in its hands when it is killed."""
LONGEST = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened.

    Attributes:
        killed: who, and killed_after seconds.
        killed_in_flight: messages whose handlers ran at that moment.
        redelivered: those of them that were handled after all.
        seconds: from the first agent's start to the last message handled.
    """

    tally: Tally
    killed: str
    killed_after: float
    killed_in_flight: int
    redelivered: int
    seconds: float

    @property
    def is_proof(self) -> bool:
        """Whether it shows what it set out to: a kill that hit something, and nothing lost."""
        return self.killed_in_flight > 0 and self.tally.lost == 0 and self.tally.proven == self.tally.sent


def tell(url: str, folder: Path, *, environment: Mapping[str, str], progress: Callable[[str], None]) -> Story:
    """Run the demo on the server at *url*; journals and logs go to *folder*.

    Raises:
        Unavailable: the agents did not start, or did not finish in time; says where their logs are.
    """
    parts = {
        name: Part(
            name=name,
            peers=tuple(peer for peer in AGENTS if peer != name),
            count=MESSAGES_EACH,
            rate=RATE_EACH,
            url=url,
            lease=LEASE,
            folder=folder,
        )
        for name in AGENTS
    }
    journals = {name: part.journal for name, part in parts.items()}
    began = time.monotonic()
    with _cast(parts, environment) as processes:
        progress(f"{len(AGENTS)} agents send {MESSAGES_EACH} messages each and handle what they get")
        _wait_for_traffic(parts[VICTIM], processes, began)
        processes[VICTIM].kill()
        processes[VICTIM].wait()
        hit, killed_after = in_flight(parts[VICTIM].journal), time.monotonic() - began
        progress(f"kill -9 of {VICTIM} after {killed_after:.1f} s, with {len(hit)} messages in its hands")
        processes[VICTIM] = _start(parts[VICTIM], environment)
        progress(f"{VICTIM} is started again; the lease of the dead one ends after {LEASE:g} s")
        result = _wait_for_all(journals, began)
    return Story(
        tally=result,
        killed=VICTIM,
        killed_after=killed_after,
        killed_in_flight=len(hit),
        redelivered=len(hit - in_flight(parts[VICTIM].journal)),
        seconds=time.monotonic() - began,
    )


@contextmanager
def _cast(parts: Mapping[str, Part], environment: Mapping[str, str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, part in parts.items():
            processes[name] = _start(part, environment)
        yield processes
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(part: Part, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (part.folder / f"{part.name}.log").open("ab") as log:
        return subprocess.Popen(
            part.words(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            # A Ctrl-C belongs to the demo, which then stops its agents in order.
            start_new_session=True,
        )


def _wait_for_traffic(victim: Part, processes: Mapping[str, subprocess.Popen[bytes]], began: float) -> None:
    enough = KILL_AFTER * MESSAGES_EACH
    while True:
        _check_alive(processes, victim.folder)
        _check_time(began, victim.folder)
        if _lines(victim.journal) > enough and len(in_flight(victim.journal)) >= HIT:
            return
        time.sleep(0.02)


def _wait_for_all(journals: dict[str, Path], began: float) -> Tally:
    total = len(AGENTS) * MESSAGES_EACH
    while True:
        result = tally(journals)
        if result.claimed == total and result.lost == 0:
            return result
        if time.monotonic() - began > LONGEST:
            # Not an error: what is missing by now is the result.
            return result
        time.sleep(0.25)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _check_alive(processes: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            log = (folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
            raise Unavailable(
                f"{name} ended with code {process.returncode}",
                cause=log[-1] if log else None,
                hint=f"its log is in {folder}",
            )


def _check_time(began: float, folder: Path) -> None:
    if time.monotonic() - began > LONGEST:
        raise HivebusError(f"no traffic within {LONGEST:g} s", hint=f"the logs of the agents are in {folder}")
