"""The ledger that the golden reports and the page docs/compare.md show: three agents, two roads, some trouble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hivebus_migration.facts import Gap
from hivebus_migration.report import Report, make_report

from .scenes import LEGS, Scene, at, attempt, sighting, witness

AGENTS = {"pm-agent": 320, "frontend-agent": 240, "docs-agent": 40}
UNWATCHED = "docs-agent"
HOUR = 3600
END = at(HOUR)


def sample_report(folder: Path) -> Report:
    """Return the report on the sample, read from a real ledger in *folder*."""
    ledger = sample().write(folder / "ledger.db")
    report = make_report(ledger, since=HOUR, deadline=30, now=END)
    return replace(report, ledger=Path("/home/ops/.local/state/hivebus/hb/ledger.db"), host="hive-1")


def sample() -> Scene:
    """Return its facts."""
    scene = Scene()
    for number in range(sum(AGENTS.values())):
        agent = next(name for name in AGENTS if number < _first_after(name))
        _add(scene, number, agent)
    scene.witnesses = [witness(agent, "redis", level="acked") for agent in AGENTS]
    scene.witnesses += [witness(agent, "tmux") for agent in AGENTS if agent != UNWATCHED]
    scene.gaps = [Gap(12, "locked", at(200), at(201.5))]
    scene.sightings[9_000, "tmux"] = [sighting(9_000, "tmux", "pm-agent", at=at(77))]
    return scene


def _first_after(agent: str) -> int:
    names = list(AGENTS)
    return sum(AGENTS[each] for each in names[: names.index(agent) + 1])


def _add(scene: Scene, number: int, agent: str) -> None:
    scene.add(number, agent)
    driver = "legacy" if agent == "pm-agent" else "safe"
    scene.attempts[number, "tmux"] = [attempt(number, "tmux", agent, driver=driver)]
    # Waits that differ, and always in the same way.
    jitter = number * 37 % 101
    seen = {"redis": at(number + (0.4 + jitter / 80) / 1000), "tmux": at(number + (290 + jitter) / 1000)}
    for leg in LEGS:
        scene.sightings[number, leg] = [sighting(number, leg, agent, at=seen[leg])]
    if agent == UNWATCHED or number % 40 == 7:
        scene.sightings[number, "tmux"] = []
    elif number % 80 == 11:
        other = next(each for each in AGENTS if each != agent)
        scene.sightings[number, "tmux"] = [sighting(number, "tmux", other, at=seen["tmux"])]
    elif number % 100 == 13:
        scene.sightings[number, "tmux"] = [sighting(number, "tmux", agent, fingerprint="torn", at=seen["tmux"])]
    elif number % 150 == 17:
        scene.attempts[number, "tmux"] = [
            attempt(number, "tmux", agent, driver=driver, outcome="unknown", reason="timeout")
        ]
        scene.sightings[number, "tmux"] = []
    elif number % 150 == 19:
        scene.attempts[number, "tmux"] = [
            attempt(number, "tmux", agent, driver=driver, outcome="refused", reason="copy_mode")
        ]
        scene.sightings[number, "tmux"] = []
    elif number % 200 == 23:
        scene.sightings[number, "redis"] *= 2
