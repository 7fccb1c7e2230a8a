"""What all `memory://` transports of one process, event loop, URL and namespace share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from hivebus.memory.directory import MemoryDirectory
from hivebus.memory.inbox import MemoryInbox
from hivebus.transport import Endpoint


class Ear(Protocol):
    """Somebody who listens."""

    def hear(self, routing_key: str, data: bytes) -> bool:
        """Keep what matches, and tell whether it did."""
        ...


class MemoryServer:
    """The inboxes and the directory of one bus, and a bell for whoever waits."""

    def __init__(self) -> None:
        self.inboxes: dict[str, MemoryInbox] = {}
        self.directory = MemoryDirectory()
        # Weak, since a waiting event refers to its loop, and the loop must not be kept alive from here.
        self.bells: WeakSet[asyncio.Event] = WeakSet()
        self.ears: WeakSet[Ear] = WeakSet()

    def inbox(self, name: str) -> MemoryInbox:
        """Return the inbox of that name; one that does not exist yet is created."""
        if name not in self.inboxes:
            self.inboxes[name] = MemoryInbox(name)
        return self.inboxes[name]

    def existing(self, names: Sequence[str]) -> list[MemoryInbox]:
        """Return those inboxes that exist; asking creates none."""
        return [self.inboxes[name] for name in dict.fromkeys(names) if name in self.inboxes]

    def ring(self) -> None:
        """Let every waiting reader look again."""
        for bell in self.bells:
            bell.set()


# The one module global: two buses that know nothing of each other meet here, as they would meet on a
# server. It is the loop that owns the state: its servers go when it goes, and no two loops share one.
_servers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], MemoryServer]] = WeakKeyDictionary()


def server_for(endpoint: Endpoint) -> MemoryServer:
    """Return the server of the running loop for this URL and namespace."""
    servers = _servers.setdefault(asyncio.get_running_loop(), {})
    return servers.setdefault((endpoint.url, endpoint.namespace), MemoryServer())
