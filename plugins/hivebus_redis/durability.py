"""What a server's configuration promises about a message that it has accepted."""

from __future__ import annotations

from hivebus.errors import HivebusError
from hivebus_redis.connection import Server


async def durability_of(server: Server) -> str:
    """Return ``fsync`` when every write is on disk before it is answered, else ``memory``.

    An agent may be forbidden to read the configuration; then nothing more than memory is known.
    """
    try:
        append_only = await server.command("CONFIG", "GET", "appendonly")
        when = await server.command("CONFIG", "GET", "appendfsync")
    except HivebusError:
        return "memory"
    return "fsync" if _value(append_only) == b"yes" and _value(when) == b"always" else "memory"


def _value(reply: object) -> bytes | None:
    # A map under RESP3, a flat list under RESP2.
    if isinstance(reply, dict):
        return next(iter(reply.values()), None)
    return reply[1] if isinstance(reply, list) and len(reply) > 1 else None
