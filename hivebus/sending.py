"""From a checked message to a receipt: middleware, codec, routing, outbox. The only place that publishes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hivebus import envelope as envelopes
from hivebus import limits
from hivebus.choosing import Choosing
from hivebus.codec import Codec, JsonCodec
from hivebus.demands import refusal
from hivebus.due import check_at, delay_until
from hivebus.envelope import Envelope
from hivebus.errors import HivebusError
from hivebus.heading import heading_of
from hivebus.metering import metered
from hivebus.middleware import SendMiddleware, around_send
from hivebus.observing import Observing
from hivebus.opening import Opened
from hivebus.outbox import Outbox
from hivebus.receipt import Receipt
from hivebus.replies import compose_reply, is_reply
from hivebus.routing import route
from hivebus.transport import Clock, Outgoing, Published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from datetime import datetime

    from hivebus.message import Message


class Sending:
    """The way out of one bus.

    Args:
        opened: the connected transport.
        agent: who sends.
        codec: turns messages into bytes.
        layers: the middleware that a message passes on its way out.
        observing: is told about every batch.
        wait_when_full: whether a full inbox makes the sender wait instead of raising at once.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        agent: str,
        codec: Codec,
        layers: Sequence[SendMiddleware],
        observing: Observing,
        wait_when_full: bool,
    ) -> None:
        self._transport = opened.transport
        self._leg = opened.leg
        self._limit = opened.limit
        self._durability = opened.capabilities.durability.value
        self._replies_travel_in_acks = bool(opened.capabilities.atomic_reply)
        self._codec = codec
        self._layers = layers
        # Without anybody who wants to see a message on its way out, none is built.
        self._plain = type(codec) is JsonCodec and not layers
        self._choosing = Choosing(opened.plugins, legs=opened.transport.legs)
        self._outbox = Outbox(
            metered(opened, sender=agent),
            limit=int(opened.capabilities.max_batch.value),
            wait_when_full=wait_when_full,
            told=observing.sent if observing.sees_sent else None,
        )
        # Chosen once: where every message can have what it asks for, none is looked at.
        self._refuse = refusal(opened)
        self._deliver = self._hand_over if self._refuse is None else self._hand_over_what_it_can_keep

    def send(self, envelope: Envelope, *, delay: float = 0, at: datetime | None = None) -> Awaitable[Receipt]:
        """Send what was composed, once awaited."""
        if self._plain and at is None:
            return self._deliver(envelope, envelopes.encode(envelope, limit=self._limit), delay)
        return self._send_specially(envelope, delay=delay, at=at)

    async def send_message(self, message: Message, *, delay: float = 0, at: datetime | None = None) -> Receipt:
        """Send a message through all middleware."""
        if at is not None:
            delay = await self._delay_until(at, delay=delay)

        async def innermost(message: Message) -> Receipt:
            return await self._deliver(message, self._codec.encode(message), delay)

        return await around_send(self._layers, innermost)(message)

    async def reply_in_ack(self, message: Message, result: Any, *, from_agent: str) -> Outgoing | None:
        """Return the reply that travels in an ack, if there is to be one and the transport can; else send it."""
        if is_reply(message):
            return None
        envelope = compose_reply(message, result, from_agent=from_agent)
        if self._plain:
            data = envelopes.encode(envelope, limit=self._limit)
        else:
            from hivebus.message import message_of

            data = self._codec.encode(message_of(envelope))
        (item,) = _route(envelope, data, 0)
        if self._replies_travel_in_acks:
            return item
        # Sent first: a crash before the ack runs the handler again, and its reply has the same id.
        await self._outbox.send(item)
        return None

    async def put(self, item: Outgoing) -> None:
        """Send what was routed before."""
        await self._outbox.send(item)

    async def drain(self) -> None:
        """Return when everything that was sent is answered."""
        await self._outbox.drain()

    async def _send_specially(self, envelope: Envelope, *, delay: float, at: datetime | None) -> Receipt:
        if not self._plain:
            from hivebus.message import message_of

            return await self.send_message(message_of(envelope), delay=delay, at=at)
        if at is not None:
            delay = await self._delay_until(at, delay=delay)
        return await self._deliver(envelope, envelopes.encode(envelope, limit=self._limit), delay)

    async def _hand_over_what_it_can_keep(self, sent: Envelope | Message, data: bytes, delay: float) -> Receipt:
        if self._refuse is not None:
            self._refuse(sent, delay)
        return await self._hand_over(sent, data, delay)

    async def _hand_over(self, sent: Envelope | Message, data: bytes, delay: float) -> Receipt:
        if delay != 0:
            limits.check_delay(delay)
        items = _route(sent, data, delay)
        if self._choosing.is_needed:
            legs = self._choosing.legs_for(sent)
            items = [item._replace(legs=legs) for item in items]
        published = await self._outbox.send(items[0])
        for item in items[1:]:
            published = _weaker(published, await self._outbox.send(item))
        # On the road that is being left, a level would be claimed that only the other one gives.
        durability = published.durability
        if durability is None and (published.leg is None or published.leg == self._leg):
            durability = self._durability
        return Receipt(sent, published, leg=self._leg, durability=durability)

    async def _delay_until(self, at: datetime, *, delay: float) -> float:
        moment = check_at(at, delay=delay)
        now: float | None = None
        if isinstance(self._transport, Clock):
            # A server that is away must not keep a message from being sent, on another road or a moment later.
            with suppress(HivebusError):
                now = await self._transport.now()
        return delay_until(moment, now=now)


def _route(sent: Envelope | Message, data: bytes, delay: float) -> list[Outgoing]:
    if isinstance(sent, Envelope):
        return route(sent.heading, message_id=sent.message_id, ttl=sent.terms.ttl, delay=delay, data=data)
    heading = heading_of(sent.from_agent, sent.to_agent, sent.message_type, sent.priority)
    return route(heading, message_id=sent.message_id, ttl=sent.ttl, delay=delay, data=data)


def _weaker(one: Published, other: Published) -> Published:
    return one if one.state == "duplicate" or one.heard == 0 else other
