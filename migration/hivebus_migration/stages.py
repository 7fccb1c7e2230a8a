"""Which of the two roads acts for an agent: one stage per agent, and the moves between them.

The stages of all agents are shared facts in the directory of the transport that is moved to. Every
move is one compare-and-set: of two operators who move an agent at once, one is told so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import time
from typing import Any, NamedTuple

from hivebus.errors import HivebusError, Unsupported
from hivebus.transport import Directory, Entry

KIND = "stages"
EVERYONE = "*"
"""The entry for all agents that have none of their own."""
ORDER = ("off", "dualwrite", "shadow", "live", "rampdown", "complete")
OFFERED = ("off", "dualwrite", "live")
_MAIN_ACTS = ("live", "rampdown", "complete")
_NO_COPY = ("off", "complete")


class Stage(NamedTuple):
    """Where one agent stands.

    Attributes:
        name: one of `ORDER`.
        epoch: counts the changes; a message tells by it which of two stages its sender knew.
        by, at: who changed it last, and when, in seconds since the epoch of the clock.
        reason: why, where somebody said so.
    """

    name: str = "off"
    epoch: int = 0
    by: str | None = None
    at: float | None = None
    reason: str | None = None

    @property
    def main_acts(self) -> bool:
        """Whether the transport that is moved to acts; otherwise the one that is left does."""
        return self.name in _MAIN_ACTS

    @property
    def copies(self) -> bool:
        """Whether a copy travels the leg that does not act."""
        return self.name not in _NO_COPY


class Step(NamedTuple):
    """One move: *before* is what it was made from, and both are the same where nothing had to change."""

    agent: str
    before: Stage
    after: Stage


Stages = Mapping[str, Stage]
"""The entries by agent, and that of `EVERYONE` if there is one."""


def stage_of(agent: str, stages: Stages) -> Stage:
    """Return the stage of an agent: its own, or that of everyone, or off."""
    return stages.get(agent) or stages.get(EVERYONE) or Stage()


async def read_stages(directory: Directory) -> dict[str, Stage]:
    """Return all entries; what another release wrote and this one cannot read counts as no entry."""
    return {name: stage for name, entry in (await directory.read(KIND)).items() if (stage := from_json(entry.value))}


async def start(directory: Directory, agent: str, *, by: str, dry_run: bool = False) -> Step:
    """Begin to send copies over both roads; the one that is left still acts."""
    return await _move(directory, agent, "dualwrite", verb="start", by=by, reason=None, dry_run=dry_run)


async def promote(directory: Directory, agent: str, to: str, *, by: str, dry_run: bool = False) -> Step:
    """Move one step on."""
    return await _move(directory, agent, to, verb="promote", by=by, reason=None, dry_run=dry_run)


async def rollback(directory: Directory, agent: str, to: str, *, by: str, reason: str, dry_run: bool = False) -> Step:
    """Move back to any earlier stage."""
    return await _move(directory, agent, to, verb="rollback", by=by, reason=reason, dry_run=dry_run)


def to_json(stage: Stage) -> dict[str, Any]:
    """Return a stage as it stands in the directory and in files."""
    facts = {"stage": stage.name, **stage._asdict()}
    del facts["name"]
    return facts


def from_json(value: object) -> Stage | None:
    """Return the stage in *value*, or None when it is none."""
    if not isinstance(value, Mapping):
        return None
    name, epoch, at = value.get("stage"), value.get("epoch"), value.get("at")
    if name not in ORDER or not isinstance(epoch, int):
        return None
    known = isinstance(at, (int, float)) and math.isfinite(at)
    by, reason = (text if isinstance(text := value.get(key), str) else None for key in ("by", "reason"))
    return Stage(str(name), epoch, by, float(at) if known and at is not None else None, reason)


# --- The moves -----------------------------------------------------------------------------------


async def _move(
    directory: Directory, agent: str, to: str, *, verb: str, by: str, reason: str | None, dry_run: bool
) -> Step:
    _check_offered(to)
    entries = await directory.read(KIND)
    before = stage_of(agent, _decoded(entries))
    if before.name == to and verb != "rollback":
        return Step(agent, before, before)
    _check_move(agent, before.name, to, verb=verb)
    after = Stage(to, before.epoch + 1, by, time(), reason)
    if not dry_run:
        # The version that the decision was made on: a move in between is a conflict, and never undone by this one.
        version = entries[agent].version if agent in entries else 0
        await directory.write(KIND, agent, to_json(after), expect=version)
    return Step(agent, before, after)


def _decoded(entries: Mapping[str, Entry]) -> dict[str, Stage]:
    return {name: stage for name, entry in entries.items() if (stage := from_json(entry.value))}


def _check_offered(to: str) -> None:
    if to not in ORDER:
        raise HivebusError(f"there is no stage {to!r}", hint=f"one of {', '.join(OFFERED)}")
    if to not in OFFERED:
        raise Unsupported(
            f"the stage {to} is not offered by this release", hint=f"offered are {', '.join(OFFERED)}, in this order"
        )


def _check_move(agent: str, before: str, to: str, *, verb: str) -> None:
    if verb == "start" and before != "off":
        raise HivebusError(
            f"{agent} is in stage {before}: start is the step from off to dualwrite",
            hint=f"hivebus migrate rollback {agent} --to dualwrite --reason WHY",
        )
    if verb == "promote":
        _check_promotion(agent, before, to)
    if verb == "rollback" and ORDER.index(to) >= ORDER.index(before):
        raise HivebusError(
            f"{agent} is in stage {before}: a rollback leads to an earlier one, and {to} is none",
            hint=f"hivebus migrate status shows the stages; their order is {', '.join(OFFERED)}",
        )


def _check_promotion(agent: str, before: str, to: str) -> None:
    if before in OFFERED and OFFERED.index(to) == OFFERED.index(before) + 1 and before != "off":
        return
    if before == "off":
        hint = f"hivebus migrate start {agent}"
    elif before == "dualwrite":
        hint = f"hivebus migrate promote {agent} --to live"
    else:
        hint = f"hivebus migrate rollback {agent} --to STAGE --reason WHY leads back"
    raise HivebusError(f"{agent} is in stage {before}: there is no promotion from there to {to}", hint=hint)
