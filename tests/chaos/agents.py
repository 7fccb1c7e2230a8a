"""Agents as processes: ``agents.py consume|produce '{"url": ..., ...}'``. Each keeps a book of what it did."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ledger import Book, read  # started as a program, so its folder is on the path

from hivebus import Bus, HivebusError, Message

INBOX = "pm"


async def consume(
    *, name: str, folder: str, bus: dict[str, Any], work: float, concurrency: int, careless: bool
) -> None:
    """Handle messages, each for *work* seconds; *careless* acks before it handles, which nobody should."""
    book = Book(folder, f"{name}.{os.getpid()}")
    async with Bus(agent=INBOX, **bus) as agent:

        async def handle(message_id: str, content: str) -> None:
            book.write("D", message_id)
            if content == "poison":
                os._exit(13)
            await asyncio.sleep(work)
            book.write("H", message_id)

        if careless:
            async for delivery in agent.consume():
                await delivery.ack()
                await handle(delivery.message.message_id, delivery.message.content)
        else:

            @agent.on()
            async def handler(message: Message) -> None:
                await handle(message.message_id, message.content)

            await agent.run(concurrency=concurrency)


async def produce(*, name: str, folder: str, bus: dict[str, Any], count: int, at_once: int, pause: float) -> None:
    """Send *count* messages; when it was killed before, first those again whose fate it does not know."""
    known = {line.id for line in read(Path(folder), f"{name}.*") if line.kind == "A"}
    book = Book(folder, f"{name}.{os.getpid()}")
    async with Bus(agent=name, **bus) as agent:

        async def send(message_id: str) -> None:
            book.write("T", message_id)
            try:
                receipt = await agent.send(INBOX, "work", message_id=message_id)
            except HivebusError as error:
                book.write("U", message_id, type(error).__name__)
            else:
                book.write("A", message_id, receipt.state)

        ids = [each for n in range(count) if (each := f"{name}-{n}") not in known]
        for at in range(0, len(ids), at_once):
            await asyncio.gather(*(send(each) for each in ids[at : at + at_once]))
            await asyncio.sleep(pause)
    book.write("F", note="ended")


if __name__ == "__main__":
    # Whoever measures coverage has a handler of its own for this signal, and hivebus leaves a foreign one alone.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.ERROR)
    asyncio.run({"consume": consume, "produce": produce}[sys.argv[1]](**json.loads(sys.argv[2])))
