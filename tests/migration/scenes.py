"""Synthetic facts: thirty messages that both roads delivered, and the faults that can be put into one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hivebus_migration.facts import Attempt, Fact, Gap, Intent, Moment, Sighting, Witness
from hivebus_migration.ledger import Ledger
from hivebus_migration.records import Records

BOOT = "boot-of-this-machine"
OTHER_BOOT = "boot-of-another"
BEGIN = 1_782_900_000
"""Seconds since the epoch: 2026-07-01T10:00:00Z."""
LEGS = ("redis", "tmux")
WAITS = {"redis": 0.010, "tmux": 0.300}
DRIVERS = {"redis": "streams", "tmux": "safe"}
DEV, QA = 24, 6
VICTIMS = (3, 8, 12)
"""Numbers of messages to dev that faults are about."""


def at(seconds: float, *, boot: str = BOOT) -> Moment:
    """Return a moment; the monotonic clock of another boot stands elsewhere."""
    offset = 5_000 if boot == BOOT else 9_000
    return Moment(round((BEGIN + seconds) * 1e9), round((offset + seconds) * 1e9), boot)


NOW = at(1_000)


def message_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def intent(number: int, agent: str = "dev", *, sent: float | None = None, **changes: Any) -> Intent:
    """Return a message that travels both legs, sent *number* seconds after the beginning."""
    whole = Intent(
        message_id=message_id(number),
        agent=agent,
        sender="pm",
        session="s1",
        number=number,
        message_type="question",
        level=2,
        size=100,
        stage="dualwrite",
        epoch=1,
        acting="tmux",
        legs={leg: f"{leg}-{number}" for leg in LEGS},
        at=at(number if sent is None else sent),
    )
    return whole._replace(**changes)


def attempt(number: int, leg: str, agent: str = "dev", **changes: Any) -> Attempt:
    return Attempt(message_id(number), agent, leg, DRIVERS[leg], "accepted", None, 0.002)._replace(**changes)


def sighting(number: int, leg: str, agent: str = "dev", **changes: Any) -> Sighting:
    seen = Sighting(message_id(number), leg, agent, "taken", f"{leg}-{number}", at(number + WAITS[leg]))
    return seen._replace(**changes)


def witness(agent: str, leg: str, **changes: Any) -> Witness:
    return Witness(agent, leg, "taken", at(-10))._replace(**changes)


class Scene:
    """Facts, in a dictionary so that a fault can find those that it is about."""

    def __init__(self) -> None:
        self.intents: dict[int, Intent] = {}
        self.attempts: dict[tuple[int, str], list[Attempt]] = {}
        self.sightings: dict[tuple[int, str], list[Sighting]] = {}
        self.witnesses: list[Witness] = []
        self.gaps: list[Gap] = []

    def add(self, number: int, agent: str = "dev", *, legs: tuple[str, ...] = LEGS) -> None:
        """Add a message that all *legs* deliver."""
        whole = intent(number, agent)
        self.intents[number] = whole._replace(legs={leg: whole.legs[leg] for leg in legs})
        for leg in legs:
            self.attempts[number, leg] = [attempt(number, leg, agent)]
            self.sightings[number, leg] = [sighting(number, leg, agent)]

    def records(self) -> Records:
        """Return the facts as they are read from a ledger."""
        return Records(
            intents=list(self.intents.values()),
            attempts=[each for several in self.attempts.values() for each in several],
            sightings=[each for several in self.sightings.values() for each in several],
            witnesses=self.witnesses,
            gaps=self.gaps,
        )

    def write(self, path: Path) -> Path:
        """Write the facts into a ledger, as programs do."""
        write(path, *(fact for kind in self.records() for fact in kind))
        return path


def write(path: Path, *facts: Fact) -> None:
    """Write facts into a ledger, and make sure that they are there."""
    with Ledger(path) as ledger:
        ledger.note(*facts)
        assert ledger.flush(within=30)


def both_delivered() -> Scene:
    """Return thirty messages to two agents that both roads delivered, in order, at once and whole."""
    scene = Scene()
    for number in range(DEV):
        scene.add(number)
    for number in range(DEV, DEV + QA):
        scene.add(number, "qa")
    scene.witnesses = [witness(agent, leg) for agent in ("dev", "qa") for leg in LEGS]
    return scene


# --- Faults in one leg, and by how much they change its row ----------------------------------------


def dropped(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        del scene.sightings[number, leg]


def refused(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.attempts[number, leg] = [attempt(number, leg, outcome="refused", reason="dead_pane")]
        del scene.sightings[number, leg]


def timed_out(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.attempts[number, leg] = [attempt(number, leg, outcome="unknown", reason="timeout")]
        del scene.sightings[number, leg]


def timed_out_but_arrived(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.attempts[number, leg] = [attempt(number, leg, outcome="unknown", reason="timeout")]


def killed_before_the_answer(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        del scene.attempts[number, leg]
        del scene.sightings[number, leg]


def refused_then_sent_again(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.attempts[number, leg].insert(0, attempt(number, leg, outcome="refused", reason="copy_mode"))


def duplicated(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        again = at(number + WAITS[leg] + 2.5)
        scene.sightings[number, leg].append(sighting(number, leg, at=again))


def seen_further_up(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        acked = sighting(number, leg, level="acked", at=at(number + WAITS[leg] + 1))
        scene.sightings[number, leg].append(acked)


def reordered(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        # After the one that was sent a second later, and before the one after that.
        scene.sightings[number, leg] = [sighting(number, leg, at=at(number + 1 + WAITS[leg] + 0.5))]


def corrupted(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg] = [sighting(number, leg, fingerprint="something else")]


def corrupted_then_whole(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg].insert(0, sighting(number, leg, fingerprint="something else"))


def unreadable(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg] = [sighting(number, leg, fingerprint=None)]


def misdelivered(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg] = [sighting(number, leg, agent="qa")]


def overheard(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg].append(sighting(number, leg, agent="qa"))


def only_visible(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg] = [sighting(number, leg, level="visible")]


def seen_by_another_clock(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        seen = at(number + WAITS[leg], boot=OTHER_BOOT)
        scene.sightings[number, leg] = [sighting(number, leg, at=seen)]


def seen_before_it_was_sent(scene: Scene, leg: str) -> None:
    for number in VICTIMS:
        scene.sightings[number, leg] = [sighting(number, leg, at=at(number - 0.5))]


Fault = Callable[[Scene, str], None]

# What each fault adds to the columns of its leg, per victim; `reason` is counted under `reasons`.
FAULTS: Mapping[Fault, Mapping[str, Any]] = {
    dropped: {"proven": -1, "lost": 1, "unproven_claims": 1, "reason": "never_seen"},
    refused: {"proven": -1, "lost": 1, "claimed": -1, "reason": "dead_pane"},
    timed_out: {"proven": -1, "unknown": 1, "claimed": -1, "reason": "timeout"},
    timed_out_but_arrived: {"claimed": -1},
    killed_before_the_answer: {"proven": -1, "unknown": 1, "claimed": -1, "reason": "no_answer"},
    refused_then_sent_again: {},
    duplicated: {"duplicated": 1},
    seen_further_up: {},
    reordered: {"reordered": 1},
    corrupted: {"proven": -1, "corrupted": 1, "unproven_claims": 1, "reason": "other_fingerprint"},
    corrupted_then_whole: {},
    unreadable: {"proven": -1, "unknown": 1, "unproven_claims": 1, "reason": "no_fingerprint"},
    misdelivered: {"proven": -1, "lost": 1, "misdelivered": 1, "unproven_claims": 1, "reason": "never_seen"},
    overheard: {"misdelivered": 1},
    only_visible: {"proven": -1, "lost": 1, "unproven_claims": 1, "reason": "only_visible"},
    seen_by_another_clock: {"other_clocks": 1},
    seen_before_it_was_sent: {"clock_errors": 1},
}
