"""Copies: a message counts as replicated when as many replicas as were asked for have confirmed it.

``WAIT`` runs on the connection of the message, behind it. It is honest only when that connection has written
something: after a duplicate, where nothing needs to be stored, Valkey would answer at once. `publish`
writes the counters of the inbox in any case, and the tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.errors import DurabilityUnavailable, HivebusError, Unknown
from hivebus.transport import Published
from hivebus_redis.connection import Server

PATIENCE_MS = 500
"""How long replicas have to confirm, before the same message is sent and waited for again."""

CONNECT_PATIENCE_MS = 2000
"""How long they have at first; one that has just been linked takes a second to confirm anything."""


def judged(
    results: Sequence[Published | HivebusError], *, where: str, confirmed: int, wanted: int
) -> list[Published | HivebusError]:
    """Return the results as they are when enough replicas confirmed, else `Unknown` for what is stored."""
    if confirmed >= wanted:
        return list(results)
    return [_unconfirmed(where, confirmed, wanted) if isinstance(each, Published) else each for each in results]


async def require_replicas(server: Server, *, have: str, wanted: int) -> None:
    """Raise `DurabilityUnavailable` when fewer replicas are connected than are asked for."""
    connected = await server.publishing.call("WAIT", wanted, CONNECT_PATIENCE_MS)
    if connected < wanted:
        raise DurabilityUnavailable(
            f"{server.where} gives durability {have!r}, not 'replicated'",
            cause=f"{connected} of {wanted} replicas are connected",
            hint="start the replicas, or ask for fewer with ?replicas=N in the URL; hivebus doctor says more",
        )


def _unconfirmed(where: str, confirmed: int, wanted: int) -> Unknown:
    return Unknown(
        f"{where}: the message is stored, but not known to be replicated",
        cause=f"{confirmed} of {wanted} replicas confirmed it within {PATIENCE_MS / 1000:g} s",
        hint="send again with the same message_id when the replicas are back: it is stored once; hivebus doctor",
    )
