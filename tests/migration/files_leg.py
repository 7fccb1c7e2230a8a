"""A legacy road that can be looked at: a plugin that appends every message to a file per inbox.

``files:///FOLDER`` works while the folder exists. With ``?gate=NAME``, copies wait until a file of that
name is in the folder, so that a test decides when the leg that does not act is done.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hivebus.address import behind_shadow
from hivebus.errors import HivebusError, Unavailable, Unsupported
from hivebus.hookspecs import hookimpl
from hivebus.transport import Capabilities, Endpoint, Outgoing, Published, Publisher, Scheme


@hookimpl
def register_transports(register: Callable[[Scheme], None]) -> None:
    register(Scheme(name="files", transport=f"{__name__}:FilesTransport", summary="files that tests look at"))


class FilesTransport(Publisher):
    """Appends, one line of JSON per message."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self.folder = Path(parts.path)
        gate = parse_qs(parts.query).get("gate")
        self._gate = self.folder / gate[0] if gate else None

    async def connect(self) -> Capabilities:
        self._check()
        return Capabilities()

    async def close(self) -> None:
        pass

    def lane(self, item: Outgoing) -> Hashable:
        return item.inbox

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        if self._gate and any(behind_shadow(item.inbox)[1] for item in batch):
            while not self._gate.exists():
                await asyncio.sleep(0.01)
        return [self._append(item) for item in batch]

    def _append(self, item: Outgoing) -> Published | HivebusError:
        if item.delay:
            return Unsupported("files cannot be delayed")
        try:
            self._check()
        except Unavailable as error:
            return error
        file = os.open(self.folder / f"{item.inbox}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            # One write: the lines of two processes do not mix.
            os.write(file, item.data + b"\n")
        finally:
            os.close(file)
        return Published("stored")

    def _check(self) -> None:
        if not self.folder.is_dir():
            raise Unavailable(f"there is no folder {self.folder}")


def lines(folder: Path, inbox: str) -> list[Any]:
    """Return the messages in a file, oldest first."""
    path = folder / f"{inbox}.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def contents(folder: Path, inbox: str) -> list[Any]:
    """Return what the messages in a file say, oldest first."""
    return [line["body"]["content"] for line in lines(folder, inbox)]


def ids(folder: Path, inbox: str) -> list[str]:
    """Return the ids of the messages in a file, oldest first."""
    return [line["message_id"] for line in lines(folder, inbox)]
