"""Agents on a durable road: one is killed with messages in its hands, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hivebus_tmux.demo.agent import Part
from hivebus_tmux.demo.cast import AGENTS, Process, Scale, check_alive, parts, running, start, wait_until
from hivebus_tmux.demo.tally import Tally, in_flight, tally

VICTIM = "quality-agent"
ALONE = Scale(messages=400, rate=60.0, work=0.25)
"""On this road alone: 2,400 messages in some seven seconds."""
KILL_AFTER = 0.4
"""Share of the victim's own messages after which it may be killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened.

    Attributes:
        killed: who, and killed_after seconds.
        killed_in_flight: messages whose handlers ran at that moment.
        redelivered: those of them that were handled after all.
        seconds: from the first agent's start to the last message handled.
        lease: of a dead agent, in seconds.
    """

    tally: Tally
    killed: str
    killed_after: float
    killed_in_flight: int
    redelivered: int
    seconds: float
    lease: float

    @property
    def is_proof(self) -> bool:
        """Whether it shows what it set out to: a kill that hit something, and nothing lost."""
        return self.killed_in_flight > 0 and self.tally.lost == 0 and self.tally.proven == self.tally.sent


def tell(
    url: str,
    folder: Path,
    *,
    scale: Scale,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
) -> Story:
    """Let six agents send and handle, and kill one of them; journals and logs go to *folder*.

    Raises:
        Unavailable: the agents did not start, or did not finish in time; says where their logs are.
    """
    cast = parts(scale, url=url, folder=folder)
    journals = {name: part.journal for name, part in cast.items()}
    began = time.monotonic()
    with running({name: part.words() for name, part in cast.items()}, folder, environment) as processes:
        progress(f"{len(AGENTS)} agents send {scale.messages} messages each and handle what they get")
        _wait_for_traffic(cast[VICTIM], processes, scale)
        processes[VICTIM].kill()
        processes[VICTIM].wait()
        hit, killed_after = in_flight(cast[VICTIM].journal), time.monotonic() - began
        progress(f"kill -9 of {VICTIM} after {killed_after:.1f} s, with {len(hit)} messages in its hands")
        processes[VICTIM] = start(VICTIM, cast[VICTIM].words(), folder, environment)
        progress(f"{VICTIM} is started again; the lease of the dead one ends after {scale.lease:g} s")
        result = _wait_for_all(journals, total=len(AGENTS) * scale.messages, deadline=began + scale.longest)
    return Story(
        tally=result,
        killed=VICTIM,
        killed_after=killed_after,
        killed_in_flight=len(hit),
        redelivered=len(hit - in_flight(cast[VICTIM].journal)),
        seconds=time.monotonic() - began,
        lease=scale.lease,
    )


def _wait_for_traffic(victim: Part, processes: Mapping[str, Process], scale: Scale) -> None:
    def is_busy() -> bool:
        check_alive(processes, victim.folder)
        return _lines(victim.journal) > KILL_AFTER * scale.messages and len(in_flight(victim.journal)) >= scale.hit

    wait_until(is_busy, what="traffic", within=scale.longest, folder=victim.folder, every=0.02)


def _wait_for_all(journals: dict[str, Path], *, total: int, deadline: float) -> Tally:
    while True:
        result = tally(journals)
        if result.claimed == total and result.lost == 0:
            return result
        if time.monotonic() > deadline:
            # Not an error: what is missing by now is the result.
            return result
        time.sleep(0.25)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
