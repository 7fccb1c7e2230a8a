"""What a sender gets back: proof of what the transport did, and no more than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from hivebus.address import owner_of
from hivebus.envelope import Envelope
from hivebus.transport import Evidence, Published

if TYPE_CHECKING:
    from hivebus.message import Message

STALE_AFTER = 60.0
"""Seconds without a reader after which a receipt mentions it."""


class Receipt:
    """Frozen and always true: failures raise.

    Attributes:
        message_id: names the message from here on.
        state: ``stored``; ``duplicate`` when the id was known already; ``scheduled`` when it waits.
        evidence: the strongest thing proven so far.
        durability: what the server that answered is known to give: memory, fsync, replicated or fsync+replicated.
        legs: evidence per transport that the message travels; None where a copy follows.
        heard: how many listeners it reached at most, where nothing is kept; 0 is certain. None where it is kept.
        readers: how many consumers held a lease on the inbox at that moment; None when that is not known.
        notes: what the sender may want to know, such as that nobody has read the inbox for an hour.
    """

    # One is made per message, so it is frozen by properties: a guard around every attribute costs three times as much.
    __slots__ = ("_durability", "_inbox", "_leg", "_published", "_remarks", "_sent")

    def __init__(
        self,
        sent: Envelope | Message,
        published: Published,
        *,
        leg: str,
        durability: str | None = None,
        inbox: str | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        self._sent = sent
        self._inbox = inbox
        self._remarks = remarks
        self._published = published
        self._leg = leg
        self._durability = durability

    @property
    def message_id(self) -> str:
        """The id of the message."""
        return self._sent.message_id

    @property
    def state(self) -> Literal["stored", "duplicate", "scheduled"]:
        """What the transport did."""
        return self._published.state

    @property
    def evidence(self) -> Evidence:
        """The strongest thing proven so far."""
        return self._published.evidence

    @property
    def durability(self) -> str | None:
        """What the server that answered is known to give."""
        return self._durability

    @property
    def legs(self) -> Mapping[str, Evidence | None]:
        """Evidence per transport that the message travels; None where a copy follows."""
        published = self._published
        return {published.leg or self._leg: published.evidence, **dict.fromkeys(published.others)}

    @property
    def heard(self) -> int | None:
        """How many listeners it reached at most, where nothing is kept."""
        return self._published.heard

    @property
    def readers(self) -> int | None:
        """How many consumers held a lease on the inbox; None when that is not known."""
        return self._published.readers

    @property
    def notes(self) -> tuple[str, ...]:
        """What the sender may want to know."""
        noted = notes_on(self._inbox or self._sent.to_agent, self._published)
        return (*noted, *self._remarks) if self._remarks else noted

    @property
    def message(self) -> Message:
        """The message as it was sent."""
        sent: Envelope | Message = self._sent
        if isinstance(sent, Envelope):
            # Built on demand: most senders never look, and a model costs more than the send.
            from hivebus.message import message_of

            self._sent = sent = message_of(sent)
        return sent

    def __repr__(self) -> str:
        return f"Receipt({self.message_id!r}, state={self.state!r}, evidence={self.evidence!r})"


def notes_on(to_agent: str | tuple[str, ...], published: Published) -> tuple[str, ...]:
    """Return what the sender may want to know about whoever reads the inbox."""
    to = owner_of(to_agent) if isinstance(to_agent, str) else ", ".join(to_agent)
    if published.heard == 0:
        return (f"nobody listens to what is sent to {to}; the message was not kept",)
    if published.readers != 0:
        return ()
    if to[:1] == "@":
        return _notes_of_pool(to, published)
    if published.idle is not None and published.idle < STALE_AFTER:
        return ()
    return (f"{to} {seen_ago(published)}; the message waits {'there' if published.idle is None else 'in its inbox'}",)


def seen_ago(published: Published) -> str:
    """Return since when nobody reads the inbox, in words."""
    if published.idle is None:
        return "has never read its inbox"
    return f"was last seen {_age(published.idle)} ago"


def _notes_of_pool(pool: str, published: Published) -> tuple[str, ...]:
    if published.idle is None:
        return (f"nobody has ever read {pool}; the message waits for its first member",)
    if published.idle >= STALE_AFTER:
        return (f"nobody reads {pool}, and nobody has for {_age(published.idle)}; the message waits for a member",)
    return ()


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
