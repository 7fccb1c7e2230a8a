"""The error for an option that a transport cannot honour: it names the capability that is missing."""

from __future__ import annotations

from hivebus.errors import Unsupported
from hivebus.transport import Outgoing

ACK = "send it with require_ack=False (hivebus send --no-ack), or by redis://, where it is kept until it is acked"
NOW = "send it without delay, or by redis://, where it is kept until it is due"
FOR_EVER = "send it without ttl: what nobody hears at once is gone anyway"


def lacking(where: str, capability: str, *, asks: str, hint: str) -> Unsupported:
    """Return the error.

    Args:
        where: the transport, as a user may see it.
        capability: what is missing.
        asks: which wish of the message needs it, as a sentence.
        hint: the next step.
    """
    return Unsupported(f"{where} lacks the capability {capability}", cause=asks, hint=hint)


def unkept(item: Outgoing, *, where: str) -> Unsupported | None:
    """Return why a transport that keeps nothing cannot take *item*; None when it can."""
    if item.delay > 0:
        return lacking(where, "delay", asks=f"the message asks for a delay of {item.delay:g} s", hint=NOW)
    if item.ttl is not None:
        return lacking(where, "ttl", asks=f"the message asks for a ttl of {item.ttl:g} s", hint=FOR_EVER)
    return None
