"""One member of a pool as a process: it writes down what it handles, outside the server, until it is told to end.

A line of its book is ``D time id`` when a handler begins and ``H time id`` when it is done; ``S`` when it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from hivebus.bus import Bus
from hivebus.message import Message
from hivebus_redis.drill.ledger import Book


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("url", "namespace", "agent", "pool", "folder"):
        parser.add_argument(name)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--lease", type=float, default=2.0)
    asked = parser.parse_args()
    book = Book(asked.folder, asked.agent)
    async with Bus(
        asked.url, agent=asked.agent, namespace=asked.namespace, pools=[asked.pool], lease=asked.lease
    ) as bus:

        @bus.on("status_update")
        async def begin(message: Message) -> None:
            book.write("S")

        @bus.on()
        async def handle(message: Message) -> None:
            book.write("D", message.message_id)
            if asked.seconds:
                await asyncio.sleep(asked.seconds)
            book.write("H", message.message_id)

        # To itself: handled as soon as it reads, so that the book says when it does.
        await bus.send(asked.agent, "there", message_type="status_update")
        await bus.run(concurrency=asked.concurrency)


# Whoever measures coverage has a handler of its own for this signal, and hivebus leaves a foreign one alone.
signal.signal(signal.SIGTERM, signal.SIG_DFL)
asyncio.run(main())
