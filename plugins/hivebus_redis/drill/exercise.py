"""One drill in its folder: a server, a crew, a line, their books, and what is done to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import redis

from hivebus.errors import HivebusError, Refused
from hivebus_redis.drill.crew import WORKER, Crew, Member
from hivebus_redis.drill.disk import Disk, build
from hivebus_redis.drill.ledger import Book, Line, read
from hivebus_redis.drill.line import NetworkLine
from hivebus_redis.drill.plan import Letter, Plan, letter
from hivebus_redis.drill.posting import post
from hivebus_redis.drill.producing import STOP, sending
from hivebus_redis.drill.remains import Remains, backlog, look
from hivebus_redis.drill.server import DrillServer

PATIENCE = 40.0
PAUSE = 0.02
SERVER, LINE = "server", "line"
"""How fault records name what has no process number."""


class Exercise:
    """Everything that a drill consists of; close it.

    Args:
        folder: empty, and with a path short enough for a socket.
        program: the server's.
        level: the durability that the server is set up for, ``fsync`` or ``memory``.
        plan: what the workers agree on; its url is filled in.
        worker: what workers are started with.
    """

    def __init__(
        self,
        folder: Path,
        *,
        program: str,
        level: str = "fsync",
        plan: Plan | None = None,
        worker: Sequence[str] = WORKER,
        with_disk: bool = True,
    ) -> None:
        self.folder = folder
        self.level = level
        self.program = program
        self.books = folder / "books"
        self.books.mkdir()
        library = build(folder) if with_disk else None
        disk = Disk(folder, library) if library else None
        self.server = DrillServer(program, folder / "server", level=level, disk=disk)
        self.server.start()
        self.line = NetworkLine(self.server.socket)
        self.plan = replace(plan or Plan(url=""), url=self.server.url)
        self.crew = Crew(self.plan, self.books, program=worker)
        self.book = Book(self.books, "drill")
        self.connection: redis.Redis | None = None
        self.unsure: list[Letter] = []
        self._letters = 0

    # --- who takes part ----------------------------------------------------------------------

    def consumer(self, name: str, *, inbox: str = "work", concurrency: int = 8, by_line: bool = False) -> Member:
        """Start a consumer, over the unix socket or over the line."""
        return self.crew.add("consume", name, url=self._url(by_line), inbox=inbox, concurrency=concurrency)

    def restless(self, name: str, *, rounds: int, inbox: str = "work") -> Member:
        """Start a consumer that is stopped or cancelled so many times, and then ends."""
        return self.crew.add("restless", name, url=self._url(False), inbox=inbox, concurrency=8, rounds=rounds)

    def producer(self, name: str, *, count: int | None = None, inbox: str = "work", by_line: bool = False) -> Member:
        """Start a producer: of *count* messages, or until `stop_producers`."""
        return self.crew.add("produce", name, url=self._url(by_line), inbox=inbox, count=count)

    def post(self, kind: str, *, times: int = 1, query: str = "") -> list[Letter]:
        """Send messages of one kind from here, each twice where its kind says so; those that fail are kept."""
        letters = []
        for _ in range(times):
            self._letters += 1
            letters.append(letter(kind, f"{kind}-{self._letters}"))
        for each in letters:
            self._post(each, query)
            if kind == "twice":
                self._post(each)
        return letters

    # --- what is done to them ----------------------------------------------------------------

    def fault_begins(self, kind: str, target: str) -> float:
        """Note a fault, and return when it began."""
        self.book.write("f", "-", kind, target)
        return monotonic()

    def fault_ends(self, kind: str, target: str, began: float) -> None:
        """Note that it is over, which explains what was handled twice from its beginning until now."""
        self.book.write("F", "-", kind, target, began)

    def tend(self) -> None:
        """Replace workers that messages have killed; whoever ended for no reason is noted as a failure."""
        for words in self.crew.tend():
            self.book.write("X", "-", *words.split())

    def rest(self, seconds: float) -> None:
        """Let them work for so long."""
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            self.tend()
            sleep(PAUSE)

    # --- the end -----------------------------------------------------------------------------

    def stop_producers(self) -> None:
        """Let producers make sure of what they sent, and end."""
        (self.folder / STOP).touch()
        self.await_that(lambda: not any(each.is_alive for each in self.crew.having("produce")), "producers end", 90.0)
        for each in list(self.unsure):
            self._post(each)

    def drain(self, *, patience: float = PATIENCE) -> bool:
        """Return whether everything was settled in time."""
        deadline = monotonic() + patience
        began = monotonic()
        while any(self.backlog().values()):
            if monotonic() > deadline:
                return False
            self.tend()
            sleep(PAUSE)
        self.book.write("M", "-", "drained", monotonic() - began)
        return True

    def backlog(self) -> dict[str, int]:
        """Return what is not settled of each inbox, by the server's own count."""
        with self.server.client() as client:
            return backlog(client)

    def await_that(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Return when *condition* holds; raise when it does not in time."""
        deadline = monotonic() + patience
        while not condition():
            if monotonic() > deadline:
                raise HivebusError(f"not in time: {what}", cause=self.crew.last_words() or None)
            self.tend()
            sleep(PAUSE)

    def lines(self, pattern: str = "*") -> list[Line]:
        """Return what the books say."""
        return read(self.books, pattern)

    def remains(self) -> Remains:
        """Return what the server holds at the end."""
        with self.server.client() as client:
            return look(client)

    def close(self, *, keep: bool = False) -> None:
        """End everything; the folder stays only where it is asked for."""
        self.crew.close()
        self.line.close()
        self.server.resume()
        self.server.kill()
        self.book.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _url(self, by_line: bool) -> str:  # noqa: FBT001 - its callers name it
        return self.line.url if by_line else self.server.url

    def _post(self, each: Letter, query: str = "") -> None:
        self.book.write_all([sending(each)])
        try:
            state = post(each, f"{self.server.url}{query}")
        except HivebusError as error:
            self.book.write("R" if isinstance(error, Refused) else "U", each.id, type(error).__name__)
            if each not in self.unsure:
                self.unsure.append(each)
        else:
            self.book.write("A", each.id, state)
            if each in self.unsure:
                self.unsure.remove(each)
