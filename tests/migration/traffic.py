"""Programs for processes of their own: senders, an agent on the bus, and an agent that reads its window.

Each keeps a book: a file with one id per line, written before anything else happens with the message.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import hivebus
from hivebus.errors import HivebusError
from hivebus.message import Message


class Book:
    """One line per message, whole also when the process is killed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, message_id: str) -> None:
        os.write(self._file, f"{message_id}\n".encode())


async def send(book_path: str, agent: str, name: str) -> None:
    """Send until SIGTERM; the book has what was answered for."""
    book, stop = Book(book_path), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def one_after_the_other(bus: hivebus.Bus) -> None:
        while not stop.is_set():
            try:
                receipt = await bus.send(agent, "traffic")
            except HivebusError as error:
                sys.stderr.write(f"{error}\n")
            else:
                book.write(receipt.message_id)
            await asyncio.sleep(0.003)

    async with hivebus.Bus(agent=name) as bus:
        await asyncio.gather(*(one_after_the_other(bus) for _ in range(4)))


async def handle(book_path: str, agent: str) -> None:
    """Be an agent on the bus."""
    book = Book(book_path)
    bus = hivebus.Bus(agent=agent)

    @bus.on()
    async def note(message: Message) -> None:
        book.write(message.message_id)

    async with bus:
        sys.stderr.write("ready\n")
        sys.stderr.flush()
        await bus.run()


def watch(book_path: str, window: str) -> None:
    """Be an agent that reads its window, until SIGTERM and the window is read to its end."""
    book, signals = Book(book_path), []
    # A list and no event: the handler runs in the thread that would hold the lock of the event.
    signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
    Path(window).touch()
    with open(window, "rb") as file:
        rest = b""
        while True:
            ending = bool(signals)
            *whole, rest = (rest + file.read()).split(b"\n")
            for line in whole:
                book.write(json.loads(line)["message_id"])
            if ending:
                return
            time.sleep(0.01)


if __name__ == "__main__":
    program, *words = sys.argv[1:]
    # Under coverage a handler of its own is installed, which a bus leaves alone.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if program == "watch":
        watch(*words)
    else:
        asyncio.run({"send": send, "handle": handle}[program](*words))
