"""Who is on the bus: agents by name, when each was last seen, and what senders have to know of them.

An agent is registered when it reads its inbox for the first time, or subscribes to a topic. It stays registered when
its processes have ended, since its mail waits; nobody has seen it for thirty days, and it is gone. What senders have
to know, subscriptions, fallback and renames, is kept apart: those facts change seldom, and their changes are counted.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hivebus import limits
from hivebus.errors import Conflict, InvalidMessage
from hivebus.patterns import check_pattern
from hivebus.transport import ROUTES, Clock, Counts, Directory

AGENTS = "agents"
KEPT = 30 * 86_400.0
"""Seconds after which an agent that nobody has seen is no longer registered."""
BEAT = 10.0
"""Seconds between two signs of life of a process that reads."""
LIVE_FOR = 3 * BEAT
IDLE_FOR = 900.0
"""Seconds since it was last seen, up to which an agent is idle rather than gone."""
FALLBACK_AFTER = 900.0
LEAST_FALLBACK_AFTER = 1.0
MAX_PATTERNS = 100
TRIES = 10

Presence = Literal["live", "idle", "gone"]
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A registered agent.

    Attributes:
        kind: what reads its inbox: ``process`` (a `hivebus.Bus`) or ``command`` (`hivebus receive`).
        host, pid: of the process that was seen last.
        seen: when that was, in seconds since the epoch by the server's clock.
        pools: those that its last process had joined.
        subscriptions: patterns of what it gets copies of.
        fallback: who gets its mail when it has not been seen for *fallback_after* seconds; None for nobody.
    """

    name: str
    kind: str = "process"
    host: str | None = None
    pid: int | None = None
    seen: float | None = None
    pools: Sequence[str] = ()
    subscriptions: Sequence[str] = ()
    fallback: str | None = None
    fallback_after: float | None = None

    def presence(self, counts: Counts, *, now: float) -> Presence:
        """Tell whether it reads its inbox now (live), did so lately (idle), or neither (gone)."""
        age = float("inf") if self.seen is None else now - self.seen
        if counts.consumers or age <= LIVE_FOR:
            return "live"
        return "idle" if age <= IDLE_FOR else "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All that is known of agents at one moment.

    Attributes:
        agents: by name, sorted; moved: new names by old ones; now: the time at which it was read.
    """

    agents: Mapping[str, Agent] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0


async def read(directory: Directory) -> Registry:
    """Return who is registered."""
    entries = {name: entry.value for name, entry in (await directory.read(AGENTS)).items()}
    routes = {name: entry.value for name, entry in (await directory.read(ROUTES)).items()}
    agents = {name: _agent(name, entries.get(name, {}), routes.get(name, {})) for name in sorted(entries)}
    moved = {name: str(entry["moved_to"]) for name, entry in routes.items() if entry.get("moved_to")}
    return Registry(agents=agents, moved=moved, now=await server_time(directory))


async def register(directory: Directory, agent: str, *, kind: str = "process", pools: Sequence[str] = ()) -> None:
    """Say that the agent is here; said again and again, it is a sign of life."""
    seen = round(await server_time(directory), 3)
    facts = {"kind": kind, "host": socket.gethostname(), "pid": os.getpid(), "seen": seen, "pools": list(pools)}
    await directory.write(AGENTS, agent, facts, ttl=KEPT)


def check_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of subscriptions, or raise `InvalidMessage` for one that is none."""
    given = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return tuple(dict.fromkeys(check_pattern(each) for each in given))


async def subscribe(directory: Directory, agent: str, patterns: Sequence[str]) -> None:
    """Add to what the agent gets copies of; once it returns, nothing that is sent is missed."""
    wanted = check_patterns(patterns)

    def add(facts: Facts) -> Facts:
        merged = list(dict.fromkeys([*facts.get("subscriptions", ()), *wanted]))
        if len(merged) > MAX_PATTERNS:
            raise InvalidMessage(
                field="subscriptions", value=len(merged), rule=f"an agent may have {MAX_PATTERNS} patterns"
            )
        return {**facts, "subscriptions": merged}

    await change(directory, agent, add)


async def unsubscribe(directory: Directory, agent: str, patterns: Sequence[str]) -> None:
    """Take patterns back; what was sent before stays in the inbox. One that it never had is no error."""
    unwanted = check_patterns(patterns)

    def remove(facts: Facts) -> Facts:
        return {**facts, "subscriptions": [each for each in facts.get("subscriptions", ()) if each not in unwanted]}

    await change(directory, agent, remove)


async def moved_to(directory: Directory, agent: str) -> str | None:
    """Return the new name of an agent that was renamed; None for any other."""
    entry = (await directory.read(ROUTES)).get(agent)
    return str(entry.value["moved_to"]) if entry is not None and entry.value.get("moved_to") else None


async def subscriptions_of(directory: Directory, agent: str) -> list[str]:
    """Return the patterns of one agent, registered or not."""
    entry = (await directory.read(ROUTES)).get(agent)
    return list(entry.value.get("subscriptions", ())) if entry else []


async def set_fallback(directory: Directory, agent: str, to: str | None, *, after: float) -> None:
    """Say who gets the agent's mail when it has not been seen for *after* seconds; None for nobody."""
    limits.check_name(agent, field="agent")
    if to is not None:
        check_fallback(agent, to, after=after)
    await change(directory, agent, lambda facts: {**facts, "fallback": to, "fallback_after": after if to else None})


def check_fallback(agent: str, to: object, *, after: object) -> None:
    """Raise `InvalidMessage` for what cannot be a fallback."""
    rule = "must be one other agent or one @pool"
    if not isinstance(to, str) or to in (agent, "*", "broadcast"):
        raise InvalidMessage(field="fallback", value=to, rule=rule)
    limits.check_name(to.removeprefix("@"), field="fallback")
    if not isinstance(after, (int, float)) or isinstance(after, bool) or not LEAST_FALLBACK_AFTER <= after <= KEPT:
        raise InvalidMessage(
            field="fallback_after", value=after, rule=f"must be from {LEAST_FALLBACK_AFTER:g} to {KEPT:.0f} seconds"
        )


async def forget(directory: Directory, agent: str) -> None:
    """Delete what is known of an agent, its subscriptions with it; its inbox stays as it is."""
    await directory.write(AGENTS, agent, None)
    await directory.write(ROUTES, agent, None)


async def rename(directory: Directory, old: str, new: str) -> None:
    """Give an agent another name; whoever still writes to the old one writes to the new one by that.

    Repeated after a crash half-way, it ends where it would have.
    """
    agents, routes = await directory.read(AGENTS), await directory.read(ROUTES)
    if old in routes and not routes[old].value.get("moved_to"):
        await directory.write(ROUTES, new, {**routes[old].value, "moved_to": None})
    else:
        # The new name may itself have been given up once: it is in use again.
        await change(directory, new, lambda facts: {**facts, "moved_to": None})
    await directory.write(ROUTES, old, {"moved_to": new})
    # Behind that: registered before, it would look like somebody else's name to whoever repeats this.
    if old in agents and new not in agents:
        await directory.write(AGENTS, new, agents[old].value, ttl=KEPT)
    await directory.write(AGENTS, old, None)


async def prune(directory: Directory) -> Sequence[str]:
    """Delete what senders know of agents that are no longer registered; return their names. Renames are kept."""
    agents, routes = await directory.read(AGENTS), await directory.read(ROUTES)
    # A rename that was interrupted has still to register them.
    coming = {entry.value.get("moved_to") for name, entry in routes.items() if name in agents}
    lost = [
        name
        for name, entry in routes.items()
        if name not in agents and name not in coming and entry.value.get("subscriptions")
    ]
    for name in lost:
        try:
            await directory.write(ROUTES, name, None, expect=routes[name].version)
        except Conflict:
            continue  # it is back
    return lost


async def server_time(directory: Directory) -> float:
    """Return the server's time, or that of this machine where the transport does not tell it."""
    return await directory.now() if isinstance(directory, Clock) else time.time()


async def change(directory: Directory, agent: str, changed: Callable[[Facts], Facts]) -> None:
    """Change what senders know of an agent; of two who do so at once, both succeed."""
    for tries in range(1, TRIES + 1):
        entry = (await directory.read(ROUTES)).get(agent)
        before = entry.value if entry else {}
        after = {name: value for name, value in changed(before).items() if value not in (None, [], ())}
        if after == dict(before):
            return
        try:
            await directory.write(ROUTES, agent, after or None, expect=entry.version if entry else 0)
        except Conflict:
            if tries == TRIES:
                raise
        else:
            return


def _agent(name: str, facts: Facts, routes: Facts) -> Agent:
    return Agent(
        name=name,
        kind=facts.get("kind", "process"),
        host=facts.get("host"),
        pid=facts.get("pid"),
        seen=facts.get("seen"),
        pools=tuple(facts.get("pools", ())),
        subscriptions=tuple(routes.get("subscriptions", ())),
        fallback=routes.get("fallback"),
        fallback_after=routes.get("fallback_after"),
    )
