"""One message to all whom it goes to: many inboxes at once, those that nobody knew of a moment ago, and detours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hivebus.cancelling import cancel
from hivebus.errors import HivebusError, NotFound, Refused, Unknown
from hivebus.guiding import Guiding
from hivebus.heading import Heading
from hivebus.outbox import Outbox
from hivebus.receipt import seen_ago
from hivebus.routing import Fallback, Way, needs
from hivebus.transport import Inspectable, Outgoing, Published, Publisher, Schedules

_log = logging.getLogger(__name__)
Result = Published | HivebusError
Mark = Callable[[str], bytes]


@dataclass(slots=True)
class Spread:
    """What became of one message.

    Attributes:
        addressed: the answer for each inbox that the address means; copies: for each subscriber.
        rerouted: whose inbox it is in instead, by the addressee that is gone.
        remarks: what its sender may want to know.
    """

    addressed: dict[str, Result] = field(default_factory=dict)
    copies: dict[str, Result] = field(default_factory=dict)
    rerouted: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[HivebusError]:
        """What went wrong on the way to those whom the address means."""
        return [each for each in self.addressed.values() if isinstance(each, HivebusError)]


class Spreading:
    """The way of messages that go to more than one inbox, or to another one than is written on them.

    Args:
        transport: takes messages back, where it can.
        outbox: the way out; guiding: knows the routes.
    """

    def __init__(self, transport: Publisher, *, outbox: Outbox, guiding: Guiding) -> None:
        self._transport = transport
        self._outbox = outbox
        self._guiding = guiding

    async def spread(
        self, item: Outgoing, heading: Heading, way: Way, *, mark: Mark | None, done: Mapping[str, Result] | None = None
    ) -> Spread:
        """Send *item* to every inbox of the way, and to those that turn out to be missing meanwhile.

        Args:
            item: for any of the inboxes; mark: returns its data as it is rerouted for an agent, None for never.
            done: what was answered already.
        """
        results = dict(done or {})
        while True:
            results |= await self._send_all(item, [inbox for inbox in way.inboxes if inbox not in results], way)
            way = await self._newer(heading, way, results.values())
            if all(inbox in results for inbox in way.inboxes):
                break
        await self._take_back(item, [inbox for inbox in results if inbox not in way.inboxes])
        told = Spread()
        for place, inbox in enumerate(way.inboxes):
            (told.addressed if place < way.addressed else told.copies)[inbox] = results[inbox]
        told.remarks += [f"{name} was renamed: it went to {to}" for name, to in self._moves(way)]
        self._excuse_copies(told, item)
        if mark is not None and needs(heading.to_agent) is None and item.delay == 0:
            await self._reroute(item, told, mark)
        return told

    async def copy(self, items: Sequence[Outgoing]) -> None:
        """Send the copies of a reply to subscribers; one whose inbox refuses it gets none, and the log says so."""
        for item in items:
            try:
                await self._outbox.send_impatiently(item)
            except Refused as error:
                _log_missing(item, error)

    async def _send_all(self, item: Outgoing, inboxes: Sequence[str], way: Way) -> dict[str, Result]:
        addressed = {*way.inboxes[: way.addressed]}
        sending = (
            # A sender that waits for room waits for whom it writes to, and for nobody else.
            (self._outbox.send if inbox in addressed else self._outbox.send_impatiently)(item._replace(inbox=inbox))
            for inbox in inboxes
        )
        answers = await asyncio.gather(*sending, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, HivebusError):
                raise answer
        return dict(zip(inboxes, answers, strict=True))  # type: ignore[arg-type]

    async def _newer(self, heading: Heading, way: Way, results: Iterable[Result]) -> Way:
        """Return the way by routes that are as new as the newest answer."""
        told = [each.routes for each in results if isinstance(each, Published)]
        if not told:
            return way
        try:
            routes = await self._guiding.catch_up(max((each for each in told if each is not None), default=None))
        except HivebusError as error:
            raise Unknown(
                "the message is stored where it was addressed to, but who subscribed to it cannot be read",
                cause=str(error),
                hint="send again with the same message_id: it is stored once",
            ) from error
        return routes.way(heading, way.names)

    async def _take_back(self, item: Outgoing, strays: Sequence[str]) -> None:
        """Take the message out of inboxes that it was not meant for: their agent was renamed, or has unsubscribed."""
        if strays and isinstance(self._transport, Schedules) and isinstance(self._transport, Inspectable):
            # Who has taken it meanwhile has it twice, under one id; and who cannot be asked keeps it.
            with suppress(HivebusError):
                await cancel(item.message_id, strays, schedules=self._transport, inspectable=self._transport)

    def _moves(self, way: Way) -> list[tuple[str, str]]:
        homes = ((name, self._guiding.routes.home_of(name)) for name in way.names)
        return [(name, home) for name, home in homes if name != home]

    def _excuse_copies(self, told: Spread, item: Outgoing) -> None:
        """Note what a subscriber did not get; what may still reach it when the message is sent again is an error."""
        for inbox, result in told.copies.items():
            if isinstance(result, Refused):
                _log_missing(item._replace(inbox=inbox), result)
                told.remarks.append(f"{inbox} subscribed to this and got no copy: {result.what}")
            elif isinstance(result, HivebusError):
                raise result

    # --- detours -----------------------------------------------------------------------------

    async def _reroute(self, item: Outgoing, told: Spread, mark: Mark) -> None:
        for inbox, result in list(told.addressed.items()):
            fallback = self._guiding.routes.fallbacks.get(inbox)
            if fallback is None or not isinstance(result, Published) or not fallback.is_due(result):
                continue
            if not isinstance(self._transport, Schedules) or not isinstance(self._transport, Inspectable):
                told.remarks.append(f"{inbox} is gone, but this transport cannot take a message back to reroute it")
                continue
            await self._reroute_one(item._replace(inbox=inbox), result, fallback, told, mark)

    async def _reroute_one(
        self, item: Outgoing, result: Published, fallback: Fallback, told: Spread, mark: Mark
    ) -> None:
        assert isinstance(self._transport, Schedules) and isinstance(self._transport, Inspectable)
        gone = item.inbox
        try:
            (name,) = await self._guiding.names(fallback.to, sender="")
        except NotFound as error:
            told.remarks.append(f"{gone} is gone, and its fallback {fallback.to} is not there: {error.what}")
            return
        inbox = self._guiding.routes.home_of(name)
        if inbox == gone:
            return  # its fallback was renamed to it: taken back from there, it would be nowhere
        # Taken back first, so that not both have it. A crash before the next line is a send without a receipt:
        # sent again under its id, it takes the same way.
        taken = await cancel(item.message_id, [gone], schedules=self._transport, inspectable=self._transport)
        if not taken:
            return  # somebody was faster, and works on it
        told.rerouted[gone] = inbox
        try:
            told.addressed[gone] = await self._outbox.send(item._replace(inbox=inbox, data=mark(gone)))
        except HivebusError as error:
            told.addressed[gone] = error
        told.remarks.append(f"{gone} {seen_ago(result)}: rerouted to {fallback.to}")


def _log_missing(item: Outgoing, error: Refused) -> None:
    facts = {"agent": item.inbox, "message_id": item.message_id, "error": str(error)}
    _log.warning("a subscriber got no copy", extra=facts)
