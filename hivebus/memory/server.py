"""What all `memory://` transports of one process, event loop, URL and namespace share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from hivebus.address import is_temporary, owner_of
from hivebus.memory.directory import MemoryDirectory
from hivebus.memory.entry import Stored
from hivebus.memory.inbox import MemoryInbox
from hivebus.quota import Quota, Spent
from hivebus.transport import Endpoint

ANSWERS = 200
"""How many accepted answers are remembered of an agent, after its temporary inbox is gone."""


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
        self.whole_at: dict[str, float] = {}
        self.answers: dict[str, deque[tuple[str, Stored]]] = {}
        # Weak, since a waiting event refers to its loop, and the loop must not be kept alive from here.
        self.bells: WeakSet[asyncio.Event] = WeakSet()
        self.ears: WeakSet[Ear] = WeakSet()

    def inbox(self, name: str) -> MemoryInbox:
        """Return the inbox of that name; one that does not exist yet is created."""
        if name not in self.inboxes:
            self.inboxes[name] = MemoryInbox(name)
        return self.inboxes[name]

    def addressed(self, name: str) -> MemoryInbox:
        """Return the inbox that a message to *name* goes to: that of its agent where a temporary one is gone."""
        return self.inbox(name if name in self.inboxes else owner_of(name))

    def drop(self, name: str, now: float) -> int:
        """End a temporary inbox: what nobody took goes to its agent. Returns how many messages that were."""
        dropped, agent = self.inboxes.pop(name), owner_of(name)
        accepted = self.answers.setdefault(agent, deque(maxlen=ANSWERS))
        settled = [stored for stored in dropped.kept.history(now, since=now, until=0) if stored.is_settled]
        accepted.extend((name, stored) for stored in settled)
        left = dropped.left(now)
        if left or settled:
            self.inbox(agent).inherit(left, settled, now)
        return len(left)

    def clear_away(self, now: float) -> int:
        """End the temporary inboxes that nobody reads any more."""
        temporary = [inbox for inbox in self.inboxes.values() if is_temporary(inbox.name)]
        return sum(self.drop(inbox.name, now) for inbox in temporary if not inbox.counts(now).consumers)

    def spend(self, sender: str, count: int, quota: Quota, now: float) -> Spent:
        """Take so many messages out of the quota of an agent, or as many as are left of it."""
        whole_at, each = max(now, self.whole_at.get(sender, now)), 1 / quota.rate
        # A little more than nothing, since fractions add up to a little less than a whole.
        granted = max(0, min(count, int((now - whole_at) / each + quota.burst + 1e-6)))
        self.whole_at[sender] = whole_at = whole_at + granted * each
        return Spent(granted, max(0.0, whole_at + each - quota.burst * each - now) if granted < count else 0.0)

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
