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
from hivebus.envelope import Envelope, marked
from hivebus.errors import HivebusError
from hivebus.guiding import Guiding
from hivebus.heading import Heading, heading_of
from hivebus.metering import metered
from hivebus.middleware import SendMiddleware, around_send
from hivebus.observing import Observing
from hivebus.opening import Opened
from hivebus.outbox import Outbox
from hivebus.receipt import Receipt, notes_on
from hivebus.replies import compose_reply, is_reply
from hivebus.routing import Way, outgoing, route
from hivebus.spreading import Spread, Spreading
from hivebus.transport import Clock, Outgoing, Published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
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
        self._guiding = Guiding(opened.transport)
        self._spreading = Spreading(opened.transport, outbox=self._outbox, guiding=self._guiding)

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

    async def broadcast(
        self, envelope: Envelope, *, names: tuple[str, ...], delay: float = 0, at: datetime | None = None
    ) -> dict[str, Receipt | HivebusError]:
        """Send what was composed to each of *names*; return what became of it, by inbox.

        Raises:
            HivebusError: nobody got it, for this reason.
        """
        if at is not None:
            delay = await self._delay_until(at, delay=delay)
        limits.check_delay(delay)
        results: dict[str, Receipt | HivebusError] = {}
        if self._plain:
            results |= await self._fan_out(envelope, envelopes.encode(envelope, limit=self._limit), names, delay)
            return results
        from hivebus.message import message_of

        async def innermost(message: Message) -> Receipt:
            results.update(await self._fan_out(message, self._codec.encode(message), names, delay))
            return next(each for each in results.values() if isinstance(each, Receipt))

        await around_send(self._layers, innermost)(message_of(envelope))
        return results

    async def names(self, to_agent: str | tuple[str, ...], *, sender: str) -> tuple[str, ...]:
        """Return whom an address means at this moment."""
        return await self._guiding.names(to_agent, sender=sender)

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
        if not self._replies_travel_in_acks:
            # Sent first: a crash before the ack runs the handler again, and its reply has the same id.
            await self._deliver(envelope, data, 0)
            return None
        # The answer to an ack does not tell whether the routes have changed.
        await self._guiding.confirm()
        way = await self._guiding.find(envelope.heading)
        item, *copies = route(
            envelope.heading, way.inboxes, message_id=envelope.message_id, ttl=envelope.terms.ttl, delay=0, data=data
        )
        await self._spreading.copy(copies)
        return item

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
        heading = _heading(sent)
        way = self._guiding.routes.known.get(heading.text) or await self._guiding.find(heading)
        inbox = way.inboxes[0]
        item = self._item(sent, heading, inbox, data, delay)
        if len(way.inboxes) > 1:
            return self._summed_up(sent, await self._spread(sent, item, heading, way))
        published = await self._outbox.send(item)
        routes = self._guiding.routes
        if published.routes == routes.version and inbox == way.names[0] and inbox not in routes.fallbacks:
            return self._receipt(sent, published)
        done = {inbox: published}
        return self._summed_up(sent, await self._spread(sent, item, heading, way, done=done))

    def _item(self, sent: Envelope | Message, heading: Heading, inbox: str, data: bytes, delay: float) -> Outgoing:
        ttl = sent.terms.ttl if isinstance(sent, Envelope) else sent.ttl
        item = outgoing(heading, inbox, message_id=sent.message_id, ttl=ttl, delay=delay, data=data)
        return item._replace(legs=self._choosing.legs_for(sent)) if self._choosing.is_needed else item

    async def _fan_out(
        self, sent: Envelope | Message, data: bytes, names: tuple[str, ...], delay: float
    ) -> dict[str, Receipt | HivebusError]:
        heading = _heading(sent)
        way = self._guiding.routes.way(heading, names)
        item = self._item(sent, heading, way.inboxes[0], data, delay)
        told = await self._spreading.spread(item, heading, way, mark=None)
        if len(told.failures) == len(told.addressed):
            raise told.failures[0]
        return {
            inbox: self._receipt(sent, each, inbox=inbox) if isinstance(each, Published) else each
            for inbox, each in told.addressed.items()
        }

    def _spread(
        self,
        sent: Envelope | Message,
        item: Outgoing,
        heading: Heading,
        way: Way,
        *,
        done: Mapping[str, Published] | None = None,
    ) -> Awaitable[Spread]:
        def mark(gone: str) -> bytes:
            if isinstance(sent, Envelope):
                return marked(item.data, gone)
            return self._codec.encode(sent.replace(rerouted_from=gone))

        once = isinstance(sent, Envelope) or sent.rerouted_from is None
        return self._spreading.spread(item, heading, way, mark=mark if once else None, done=done)

    def _summed_up(self, sent: Envelope | Message, told: Spread) -> Receipt:
        """Return one receipt for all whom the address means, or raise what went wrong with one of them."""
        for failure in told.failures:
            raise failure
        answers = {inbox: each for inbox, each in told.addressed.items() if isinstance(each, Published)}
        if len(answers) == 1:
            ((inbox, published),) = answers.items()
            return self._receipt(sent, published, inbox=told.rerouted.get(inbox, inbox), remarks=told.remarks)
        # What went less well for one of them holds for all.
        published = min(answers.values(), key=lambda each: (each.state != "duplicate", each.heard != 0))
        notes = [note for inbox, each in answers.items() for note in notes_on(told.rerouted.get(inbox, inbox), each)]
        # What is known of readers is told inbox by inbox.
        return self._receipt(sent, published._replace(readers=None), remarks=[*notes, *told.remarks])

    def _receipt(
        self,
        sent: Envelope | Message,
        published: Published,
        *,
        inbox: str | None = None,
        remarks: Sequence[str] = (),
    ) -> Receipt:
        # On the road that is being left, a level would be claimed that only the other one gives.
        durability = published.durability
        if durability is None and (published.leg is None or published.leg == self._leg):
            durability = self._durability
        return Receipt(sent, published, leg=self._leg, durability=durability, inbox=inbox, remarks=remarks)

    async def _delay_until(self, at: datetime, *, delay: float) -> float:
        moment = check_at(at, delay=delay)
        now: float | None = None
        if isinstance(self._transport, Clock):
            # A server that is away must not keep a message from being sent, on another road or a moment later.
            with suppress(HivebusError):
                now = await self._transport.now()
        return delay_until(moment, now=now)


def _heading(sent: Envelope | Message) -> Heading:
    if isinstance(sent, Envelope):
        return sent.heading
    return heading_of(sent.from_agent, sent.to_agent, sent.message_type, sent.priority)
