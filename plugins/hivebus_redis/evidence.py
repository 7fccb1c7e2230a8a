"""What a server says when it is examined, by plain commands: nothing is loaded, nothing changed."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hivebus.errors import NotPermitted, Unsupported
from hivebus_redis import attestation, continuity
from hivebus_redis.connection import Server
from hivebus_redis.durability import NEEDED, Level, judge
from hivebus_redis.layout import Layout
from hivebus_redis.server_facts import configuration, info

SETTINGS = (*NEEDED, "aof-load-truncated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the server said.

    Attributes:
        info: INFO, by name.
        settings: its configuration; None for who may not read it.
        libraries: the libraries of server-side functions of hivebus; None likewise.
        attested: what an operator left, or None.
        born: since when the bus is there, in seconds since the epoch; None when it never was.
        lost: what a process left that saw everything gone, and when; None when nobody did.
        skew: seconds by which the server's clock is ahead of ours.
    """

    info: Mapping[str, str]
    settings: Mapping[str, str] | None
    libraries: list[str] | None
    attested: attestation.Attestation | None
    born: float | None
    lost: tuple[float, Mapping[str, Any]] | None
    skew: float


async def gather_evidence(server: Server, layout: Layout) -> Evidence:
    """Ask the server everything that the checks need; raises `Unavailable` when nobody answers."""
    ask = server.command
    before = time.time()
    seconds, microseconds = await ask("TIME")
    skew = int(seconds) + int(microseconds) / 1e6 - (before + time.time()) / 2
    attested = (await _entries(server, layout.directory(attestation.KIND))).get(attestation.NAME)
    life = await _entries(server, layout.directory(continuity.KIND))
    return Evidence(
        info=await info(ask),
        settings=await _if_permitted(lambda: configuration(ask, SETTINGS)),
        libraries=await _if_permitted(lambda: _libraries(server)),
        attested=attestation.read_attestation(attested[1]) if attested else None,
        born=life[continuity.NAME][0] if continuity.NAME in life else None,
        lost=life.get(continuity.LOST),
        skew=skew,
    )


def level_of(evidence: Evidence) -> Level:
    """Return the level that agents may rely on."""
    if evidence.settings is not None:
        return judge(evidence.settings)
    if evidence.attested is None:
        return Level("memory", "this user may not read the configuration, and nobody attested it")
    stale = attestation.why_stale(evidence.attested, evidence.info)
    if stale:
        return Level("memory", f"its attestation is stale: {stale}")
    return Level(evidence.attested.level, f"attested by {evidence.attested.by}")


async def _if_permitted(ask: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await ask()
    except (NotPermitted, Unsupported):
        return None


async def _libraries(server: Server) -> list[str]:
    rows = await server.command("FUNCTION", "LIST", "LIBRARYNAME", "hivebus_*")
    return sorted(row[row.index(b"library_name") + 1].decode() for row in rows)


async def _entries(server: Server, key: str) -> dict[str, tuple[float, Mapping[str, Any]]]:
    # Read by hand, as `functions/directory.lua` writes it: no function needs to be loaded for a look.
    flat = await _if_permitted(lambda: server.command("HGETALL", key)) or []
    entries = {}
    for name, field in zip(flat[::2], flat[1::2], strict=True):
        version, _, text = field.split(b":", 2)
        entries[name.decode()] = (int(version) / 1000, json.loads(text))
    return entries
