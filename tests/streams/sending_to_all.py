"""A process that broadcasts once, and is killed in the middle when it is told how far to get."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from hivebus.bus import Bus
from hivebus.transport import Outgoing
from hivebus_redis.streams import RedisStreams


def die_after(count: int) -> None:
    """Kill this process with -9 as soon as so many inboxes have the message."""
    store = RedisStreams._store
    stored = 0

    async def storing(self: RedisStreams, inbox: str, items: Sequence[Outgoing]) -> object:
        nonlocal stored
        if stored == count:
            os.kill(os.getpid(), signal.SIGKILL)
        stored += 1
        return await store(self, inbox, items)

    RedisStreams._store = storing  # type: ignore[method-assign, assignment]


async def main(url: str, namespace: str, message_id: str, dies_after: str) -> None:
    if dies_after:
        die_after(int(dies_after))
    async with Bus(url, agent="orchestrator", namespace=namespace) as bus:
        outcome = await bus.broadcast("stop", message_type="workflow_command", message_id=message_id)
    known = [each for each in outcome.receipts.values() if each.state == "duplicate"]
    sys.stdout.write(f"{len(outcome.receipts)} {len(known)}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
