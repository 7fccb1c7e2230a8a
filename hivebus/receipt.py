"""What a sender gets back: proof of what the transport did, and no more than that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

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
        durability: what the server that answered gives: memory, fsync or replicated; None is unknown.
        legs: evidence per transport that the message travels.
        notes: what the sender may want to know, such as that nobody has read the inbox for an hour.
    """

    __slots__ = ("_envelope", "_message", "durability", "evidence", "legs", "message_id", "notes", "state")

    message_id: str
    state: Literal["stored", "duplicate", "scheduled"]
    evidence: Evidence
    durability: str | None
    legs: Mapping[str, Evidence]
    notes: tuple[str, ...]

    def __init__(
        self,
        envelope: Envelope,
        published: Published,
        *,
        leg: str,
        durability: str | None = None,
        message: Message | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "_envelope", envelope)
        put(self, "_message", message)
        put(self, "message_id", envelope.message_id)
        put(self, "state", published.state)
        put(self, "evidence", published.evidence)
        put(self, "durability", durability)
        put(self, "legs", {leg: published.evidence})
        put(self, "notes", _notes(envelope, published) if published.readers == 0 else ())

    @property
    def message(self) -> Message:
        """The message as it was sent."""
        if self._message is None:
            # Built on demand: most senders never look, and a model costs more than the send.
            from hivebus.message import message_of

            object.__setattr__(self, "_message", message_of(self._envelope))
        message: Message = self._message
        return message

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a receipt is frozen: {name} cannot be set")

    def __repr__(self) -> str:
        return f"Receipt({self.message_id!r}, state={self.state!r}, evidence={self.evidence!r})"


def _notes(envelope: Envelope, published: Published) -> tuple[str, ...]:
    to = envelope.to_agent if isinstance(envelope.to_agent, str) else ", ".join(envelope.to_agent)
    if published.idle is None:
        return (f"{to} has never read its inbox; the message waits there",)
    if published.idle >= STALE_AFTER:
        return (f"{to} was last seen {_age(published.idle)} ago; the message waits in its inbox",)
    return ()


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
