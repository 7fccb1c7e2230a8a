"""A whole drill: man the crew, let them work, disturb them, let them finish, and judge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from hivebus.transport import Endpoint
from hivebus_redis.drill.crew import Member
from hivebus_redis.drill.evidence import Evidence, gather
from hivebus_redis.drill.exercise import Exercise
from hivebus_redis.drill.faults import Fault
from hivebus_redis.drill.figures import Figures, figures_of
from hivebus_redis.drill.invariants import Finding, applying, judge
from hivebus_redis.drill.ledger import Line, count
from hivebus_redis.drill.plan import ORDER
from hivebus_redis.drill.probing import measure_recovery
from hivebus_redis.drill.schedule import Schedule
from hivebus_redis.drill.watched import OPENED
from hivebus_redis.streams import open_streams

CHUNK = 500
CONSUMERS, PRODUCERS = 2, 2
BY_LINE = "line"
"""Ends the names of those who reach the server over the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a drill has shown.

    Attributes:
        evidence: the books, sorted.
        findings: every breach of what was promised; none is a pass.
        figures: the counts and times of it.
        judged: the names of the invariants that applied.
    """

    evidence: Evidence
    findings: Sequence[Finding]
    figures: Figures
    judged: Sequence[str]

    @property
    def level(self) -> str:
        """What the server was set up for."""
        return self.evidence.level


def run(
    exercise: Exercise,
    *,
    seconds: float,
    faults: Sequence[Fault],
    every: float,
    faults_at_least: int = 0,
    sends_at_least: int = 0,
    told: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Run a drill for so long, with a fault about *every* so many seconds, and return what it has shown.

    On a machine that is too slow for so many faults in that time, or so many sends that return, it takes up to three
    times as long.
    """
    began = monotonic()
    man(exercise)
    told(f"{len(exercise.crew.members)} processes at work on {exercise.program}")
    measure_recovery(exercise, faults)
    Schedule(exercise, faults, every=every, seed=exercise.plan.seed).run(
        seconds, is_enough=lambda faults: faults >= faults_at_least and count(exercise.books, "A") >= sends_at_least
    )
    told("no more faults; waiting until everything is settled")
    return finish(exercise, began=began)


def man(exercise: Exercise) -> None:
    """Start consumers and producers, some of them over the line, and wait until all of them work."""
    alone = exercise.consumer(ORDER, inbox=ORDER, concurrency=1)
    consumers = [alone]
    consumers += [exercise.consumer(f"c{number}") for number in range(CONSUMERS)]
    consumers.append(exercise.consumer(f"c-{BY_LINE}", by_line=True))
    for number in range(PRODUCERS):
        exercise.producer(f"p{number}")
    exercise.producer(f"p-{BY_LINE}", by_line=True)
    # What is sent before its consumer is there would be late by no fault of the bus.
    _await_each(exercise, [alone], "opens its inbox", lambda line: line.words == (OPENED, "1"))
    exercise.producer("o", inbox=ORDER)
    _await_each(exercise, consumers, "handles something", lambda line: line.kind == "H")


def finish(exercise: Exercise, *, began: float, patience: float = 40.0) -> Outcome:
    """Let producers make sure of everything, wait until all is settled, send everybody home, and judge."""
    exercise.stop_producers()
    drained = exercise.drain(patience=patience)
    states = asyncio.run(_states(exercise, _ids_by_inbox(exercise.lines())))
    exercise.crew.dismiss()
    evidence = gather(
        exercise.lines(),
        level=exercise.level,
        lease=exercise.plan.lease,
        remains=exercise.remains(),
        drained=drained,
        states=states,
    )
    findings = judge(evidence)
    return Outcome(
        evidence=evidence,
        findings=findings,
        figures=figures_of(evidence, seconds=monotonic() - began),
        judged=applying(evidence),
    )


def _await_each(exercise: Exercise, members: Sequence[Member], what: str, is_it: Callable[[Line], bool]) -> None:
    exercise.await_that(
        lambda: all(any(map(is_it, exercise.lines(f"{each.name}.*"))) for each in members), f"every consumer {what}"
    )


def _ids_by_inbox(lines: Sequence[Line]) -> Mapping[str, Sequence[str]]:
    ids: dict[str, dict[str, None]] = defaultdict(dict)
    for line in lines:
        if line.kind == "T":
            ids[line.words[1]][line.id] = None
    return {inbox: list(some) for inbox, some in ids.items()}


async def _states(exercise: Exercise, ids: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what `status` says about every message."""
    transport = open_streams(Endpoint(url=exercise.server.url))
    await transport.connect()
    states = {}
    try:
        for inbox, some in ids.items():
            for at in range(0, len(some), CHUNK):
                states.update(dict.fromkeys(some[at : at + CHUNK], "unknown"))
                places = await transport.locate(some[at : at + CHUNK], [inbox])
                states.update({place.message_id: place.state for place in places})
    finally:
        await transport.close()
    return states
