"""Names of keys. Every key of one inbox carries one hash tag, so that it lives in one slot."""

from __future__ import annotations

from dataclasses import dataclass

from hivebus.address import is_temporary, owner_of

LEVELS = (5, 4, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of one namespace; what each holds is told in ``functions/common.lua``."""

    namespace: str

    def meta(self, inbox: str) -> str:
        """Return the key that names an inbox to the server-side functions."""
        return f"{self.namespace}:{{{inbox}}}:meta"

    def publishing(self, inbox: str) -> tuple[str, ...]:
        """Return the keys of a ``publish`` call."""
        if "~" in inbox and is_temporary(inbox):
            return (self.meta(inbox), self.index(), self.meta(owner_of(inbox)))
        return (self.meta(inbox), self.index())

    def stream(self, inbox: str, level: int) -> str:
        """Return the stream of one priority level."""
        return f"{self.namespace}:{{{inbox}}}:q:{level}"

    def bell(self, inbox: str) -> str:
        """Return the stream that wakes idle readers of an inbox."""
        return f"{self.namespace}:{{{inbox}}}:bell"

    def listening(self, inbox: str) -> tuple[str, ...]:
        """Return what an idle reader of an inbox reads behind, highest level first."""
        return (*(self.stream(inbox, level) for level in LEVELS), self.bell(inbox))

    def cancelled(self, inbox: str) -> str:
        """Return the set of what was cancelled, or expired, before it was handed out."""
        return f"{self.namespace}:{{{inbox}}}:cancelled"

    def veto(self, inbox: str) -> str:
        """Return what is touched to let a transaction take nothing."""
        return f"{self.namespace}:{{{inbox}}}:veto"

    def index(self) -> str:
        """Return the set of the names of all inboxes."""
        return f"{self.namespace}:{{@sys}}:inboxes"

    def channel(self, routing_key: str) -> str:
        """Return the channel of a routing key; Pub/Sub knows no databases, so only the namespace parts buses."""
        return f"{self.namespace}:{routing_key}"

    def quota(self, sender: str) -> str:
        """Return the key of what a sender has used of its quota."""
        return f"{self.namespace}:{{@sys}}:quota:{sender}"

    def changes(self) -> str:
        """Return the counter of changes of routes."""
        return f"{self.namespace}:{{@sys}}:changes"

    def directory(self, kind: str) -> str:
        """Return the hash of one kind of shared facts."""
        return f"{self.namespace}:{{@sys}}:{kind}"
