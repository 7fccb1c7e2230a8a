"""One message to many, and what became of it with each of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from hivebus import limits, registry
from hivebus.errors import HivebusError, InvalidMessage, NotFound, Unavailable, Unknown, Unsupported
from hivebus.receipt import Receipt
from hivebus.transport import Directory, Inspectable, Publisher, State

if TYPE_CHECKING:
    from datetime import datetime

    from hivebus.envelope import Envelope
    from hivebus.sending import Sending

_log = logging.getLogger(__name__)
WAIT = 30.0
"""Seconds for which acknowledgements are waited for, where nobody says how long."""
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
LAST_LOOK = 1.0
"""Seconds that a server has to answer when the time is over."""
FINAL: Mapping[State, bool] = {"acknowledged": True, "dead_lettered": False, "expired": False, "cancelled": False}
"""States that end the waiting for one recipient, and whether it has handled the message."""


class SendOptions(TypedDict, total=False):
    """What `Bus.send` may be told besides whom and what."""

    message_type: str
    priority: str | int
    ttl: float | None
    delay: float
    at: datetime | None
    correlation_id: str | None
    reply_to: str | None
    context: Mapping[str, Any]
    metadata: Mapping[str, Any]
    require_ack: bool
    max_retries: int
    retry_delay: float
    traceparent: str | None
    message_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """What became of a broadcast, by recipient.

    True when somebody has it and nobody is missing: all of them have stored it, and where acknowledgements were
    waited for, all of them have acknowledged. A broadcast that reached nobody is false.

    Attributes:
        message_id: sent again with it, the message reaches only those who do not have it.
        receipts: who has it; refused: who could not be given it, and why.
        states: what had become of it when the waiting ended; empty where nobody waited.
        left_out: who was registered, or named, and not live, where only live agents were meant.
        not_listening: who has it in an inbox that nobody read at that moment.
    """

    message_id: str
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    refused: Mapping[str, HivebusError] = field(default_factory=dict)
    states: Mapping[str, State] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    not_listening: Sequence[str] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """All whom it was meant for, sorted."""
        return tuple(sorted({*self.receipts, *self.refused}))

    @property
    def acked(self) -> tuple[str, ...]:
        """Who has handled it."""
        return tuple(name for name, state in self.states.items() if FINAL.get(state))

    @property
    def failed(self) -> tuple[str, ...]:
        """Whose message is a dead letter, has expired or was cancelled, and who could not be given it."""
        given_up = [name for name, state in self.states.items() if FINAL.get(state) is False]
        return (*given_up, *self.refused)

    @property
    def silent(self) -> tuple[str, ...]:
        """Who has it and had neither handled it nor given it up when the waiting ended."""
        return tuple(name for name, state in self.states.items() if state not in FINAL)

    def __bool__(self) -> bool:
        return bool(self.receipts) and not self.refused and len(self.acked) == len(self.states)


async def chosen(
    transport: Publisher, sending: Sending, *, agents: Sequence[str] | None, live_only: bool, sender: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return whom a broadcast is for, and who is left out because it is not live."""
    if agents is not None and (isinstance(agents, str) or not isinstance(agents, Collection) or not agents):
        raise InvalidMessage(field="agents", value=agents, rule="must be a list of agents, or None for everybody")
    try:
        names = await sending.names("*" if agents is None else tuple(agents), sender=sender)
    except NotFound:
        return (), ()
    if not live_only:
        return names, ()
    if not isinstance(transport, Directory) or not isinstance(transport, Inspectable):
        raise Unsupported("live_only needs a transport that knows who is there", hint="hivebus transports describe")
    known = await registry.read(transport)
    counts = await transport.counts(names)
    unknown = registry.Agent(name="")
    live = {
        name
        for name, count in zip(names, counts, strict=True)
        if known.agents.get(name, unknown).presence(count, now=known.now) == "live"
    }
    return tuple(name for name in names if name in live), tuple(name for name in names if name not in live)


async def broadcast(
    envelope: Envelope,
    *,
    names: tuple[str, ...],
    left_out: tuple[str, ...],
    transport: Publisher,
    sending: Sending,
    wait: Literal["acked"] | None,
    timeout: float | None,
    delay: float = 0,
    at: datetime | None = None,
) -> Broadcast:
    """Send to each of *names*; wait until each has handled it, when that is wished, and return what became of it."""
    if not names:
        return Broadcast(message_id=envelope.message_id, left_out=left_out)
    results = await sending.broadcast(envelope, names=names, delay=delay, at=at)
    receipts = {name: each for name, each in results.items() if isinstance(each, Receipt)}
    states: Mapping[str, State] = {}
    if wait is not None:
        assert isinstance(transport, Inspectable)
        within = WAIT if timeout is None else timeout
        states = await _await_all(transport, envelope.message_id, list(receipts), within=within)
    return Broadcast(
        message_id=envelope.message_id,
        receipts=receipts,
        refused={name: each for name, each in results.items() if isinstance(each, HivebusError)},
        states=states,
        left_out=left_out,
        not_listening=tuple(name for name, each in receipts.items() if each.readers == 0),
    )


def check_wait(transport: Publisher, *, wait: object, timeout: object) -> None:
    """Raise for what cannot be waited for, before anything is sent."""
    if wait not in (None, "acked"):
        raise InvalidMessage(field="wait", value=wait, rule="must be 'acked', or None for not at all")
    if wait is None and timeout is not None:
        raise InvalidMessage(field="timeout", value=timeout, rule="needs wait='acked': nothing is waited for")
    if timeout is not None:
        limits.check_timeout(timeout)
    if wait is not None and not isinstance(transport, Inspectable):
        raise Unsupported(
            "acknowledgements can only be waited for where a transport offers inspect",
            hint="hivebus transports describe",
        )


async def _await_all(
    inspectable: Inspectable, message_id: str, inboxes: Sequence[str], *, within: float
) -> dict[str, State]:
    """Return the state per inbox once all are final or time is over; asks for the open ones, ever less often.

    A server that is away is asked again: the message is sent, and whoever sent it has to be told its id.
    """
    states: dict[str, State] = dict.fromkeys(inboxes, "unknown")
    deadline = monotonic() + within
    pause = FIRST_PAUSE
    while True:
        open_ = [inbox for inbox, state in states.items() if state not in FINAL]
        try:
            async with asyncio.timeout(max(LAST_LOOK, deadline - monotonic())):
                for place in await inspectable.locate([message_id], open_):
                    states[place.inbox] = place.state
        except (Unavailable, Unknown, TimeoutError) as error:
            _log.warning("acknowledgements cannot be read", extra={"message_id": message_id, "error": str(error)})
        left = deadline - monotonic()
        if left <= 0 or all(state in FINAL for state in states.values()):
            return states
        await asyncio.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, pause * 1.5)
