"""What a message asks for, against what the connected transport can do, before anything is written.

A transport refuses by itself what it sees of a message: a delay, a time to live. It never looks inside, so it
does not see that a message wants to be acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hivebus.envelope import Envelope
from hivebus.lacking import ACK, FOR_EVER, NOW, lacking
from hivebus.opening import Opened
from hivebus.transport import Listener, Transport

if TYPE_CHECKING:
    from hivebus.message import Message

Refuse = Callable[["Envelope | Message", float], None]


def refusal(opened: Opened) -> Refuse | None:
    """Return what raises `Unsupported` for a message that asks for too much; None where no message can.

    Only what is listened to, and not read from an inbox, is so strict. Who reads an inbox settles. Behind a
    terminal or a webhook stands somebody whom hivebus knows nothing of: what becomes of a message there is said by
    the evidence of its receipt.
    """
    if not isinstance(opened.transport, Listener) or isinstance(opened.transport, Transport):
        return None
    capabilities, where = opened.capabilities, opened.url

    def refuse(sent: Envelope | Message, delay: float) -> None:
        ttl, require_ack = _terms(sent)
        if require_ack and not capabilities.redelivery:
            raise lacking(where, "redelivery", asks="the message asks for an ack, and nobody can give one", hint=ACK)
        if delay > 0 and not capabilities.delay:
            raise lacking(where, "delay", asks=f"the message asks for a delay of {delay:g} s", hint=NOW)
        if ttl is not None and not capabilities.ttl:
            raise lacking(where, "ttl", asks=f"the message asks for a ttl of {ttl:g} s", hint=FOR_EVER)

    return refuse


def _terms(sent: Envelope | Message) -> tuple[float | None, bool]:
    if isinstance(sent, Envelope):
        return sent.terms.ttl, sent.terms.require_ack
    return sent.ttl, sent.delivery_options.require_ack
