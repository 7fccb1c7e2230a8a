"""What a transport may offer besides what is in `hivebus.offers`: to keep inboxes tidy.

In a file of its own, because whoever sends one message needs none of it, and has it defined for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    """What one step of tidying found and did in an inbox.

    Attributes:
        expired: messages that nobody took in time, and that are dead letters now.
        trimmed: settled messages that are forgotten.
        lost: messages that were unread or in flight, and that somebody else has removed from the server.
        removed: all that somebody else has removed, settled messages among them.
        more: whether a further step would find something to do.
    """

    expired: int = 0
    trimmed: int = 0
    lost: int = 0
    removed: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """What keeps settled messages behind it from being trimmed.

    Attributes:
        kind: a consumer holds it, it waits for a retry, or nobody has read it.
        priority: the level on which it stands in the way.
        group: whose; consumer: who holds it.
        message_id: the oldest such message; at: when it was accepted.
        held_seconds: since when it is held, or waits for its retry.
        count: how many there are like it, at least.
    """

    kind: Literal["held", "retrying", "unread"]
    priority: int
    group: str
    consumer: str | None
    message_id: str
    at: float
    held_seconds: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What an inbox takes of the server's memory for its messages.

    Attributes:
        bytes: of all stored messages, settled or not, as the server estimates it.
        oldest: when the oldest message was accepted that may be trimmed; None when there is none.
        lost: how many messages that were unread or in flight somebody else has removed so far.
        removed: how many somebody else has removed in all.
        blockers: what stands in the way of trimming, a row per level and group.
    """

    bytes: int = 0
    oldest: float | None = None
    lost: int = 0
    removed: int = 0
    blockers: Sequence[Blocker] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """What one step of trimming took away, or would take.

    Attributes:
        messages: how many; bytes: what they take of the server's memory, estimated.
        first: when the first of them was accepted; last: the last.
        oldest: when the oldest was accepted that may go next; None when there is none.
        behind: where a dry run goes on.
    """

    messages: int = 0
    bytes: int = 0
    first: float | None = None
    last: float | None = None
    oldest: float | None = None
    behind: str = ""


class Tidying(ABC):
    """Keeps inboxes tidy although nobody reads them, and forgets what is settled."""

    @abstractmethod
    async def tidy(self, inbox: str, *, keep: float) -> Tidied:
        """Do a bounded part of what has to happen although nobody reads.

        What expired while it waited, for its first attempt or another, becomes a dead letter. Settled messages
        are forgotten *keep* seconds after they were accepted, unless one stands before them that is not.
        Losses are noticed.
        """

    @abstractmethod
    async def holding(self, inboxes: Sequence[str]) -> Sequence[Holding]:
        """Return what each inbox holds, in order; an unknown inbox holds nothing."""

    @abstractmethod
    async def shed(
        self,
        inbox: str,
        *,
        older_than: float,
        limit: int,
        want: int | None = None,
        dry_run: bool = False,
        behind: str = "",
    ) -> Shed:
        """Forget the oldest settled messages, a bounded number; what is not settled is never touched.

        Args:
            inbox: whose.
            older_than: seconds since they were accepted, at least.
            limit: the most messages.
            want: the bytes that are enough; None is all.
            dry_run: only count, and go on *behind* what an earlier step has counted.
        """

    async def clear_away(self) -> int:
        """Drop temporary reply inboxes that nobody reads any more; what is in them goes to their agents.

        Returns how many messages went there. A transport without such inboxes has nothing to do.
        """
        return 0
