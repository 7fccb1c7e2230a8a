"""Questions that wait for their answers: one temporary inbox and one reader for all of a bus.

The inbox ``agent~token`` is opened at the first question and gone when the bus is closed. An answer that comes when
nobody waits for it any more goes to the agent's own inbox, so that it is handled, or at least seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivebus import limits
from hivebus.address import parse_address, temporary_of
from hivebus.codec import Codec, load_model
from hivebus.envelope import Envelope
from hivebus.errors import HivebusError, InvalidMessage, NoAnswer, Unsupported
from hivebus.opening import Opened
from hivebus.settler import FIRST_PAUSE, LONGEST_PAUSE, Settler
from hivebus.transport import Ack, DeadLetter, Delivery, Inbox, Outgoing, Reader, Transport

if TYPE_CHECKING:
    from hivebus.message import Message
    from hivebus.receipt import Receipt
    from hivebus.sending import Sending

WAIT = 5.0
LIMIT = 100
"""How many answers are taken at once."""
_log = logging.getLogger(__name__)


class Asking:
    """The questions of one bus.

    Args:
        opened: the connected transport.
        agent: who asks.
        codec: reads answers.
        sending: the way of questions, and of answers that came too late.
        lease: seconds without a sign of life after which the inbox may be dropped.
    """

    def __init__(self, opened: Opened, *, agent: str, codec: Codec, sending: Sending, lease: float) -> None:
        self._transport = opened.transport
        self._url = opened.url
        self._max_batch = int(opened.capabilities.max_batch.value)
        self._agent = agent
        self._codec = codec
        self._sending = sending
        self._lease = lease
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._reader: Reader | None = None
        self._settler: Settler | None = None
        self._listening: asyncio.Task[None] | None = None
        self._closed = False
        self.inbox = ""

    async def open(self) -> str:
        """Return the address for answers; it is opened when it is asked for first."""
        if self._closed:
            raise Unsupported("this bus is closed, so it cannot ask", hint="ask inside of `async with`")
        if self._reader is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._open())
            # Shared: whoever is cancelled meanwhile leaves it to the others, and to `close`.
            await asyncio.shield(self._opening)
        return self.inbox

    async def ask(self, question: Envelope, *, timeout: float) -> Message:
        """Send a question and return the first answer to it, or raise `NoAnswer`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        message_id = question.message_id
        if message_id in self._waiting:
            raise InvalidMessage(
                field="message_id", value=message_id, rule="is being asked by this bus already; wait for that answer"
            )
        answer: asyncio.Future[Message] = loop.create_future()
        self._waiting[message_id] = answer
        try:
            receipt = await self._sending.send(question)
            await asyncio.wait([answer], timeout=max(0.0, deadline - loop.time()))
            if answer.done() and not answer.cancelled():
                return answer.result()
            raise _no_answer(question, receipt, timeout=timeout, closed=self._closed)
        finally:
            del self._waiting[message_id]

    async def close(self) -> None:
        """Stop waiting, and drop the inbox."""
        self._closed = True
        for answer in self._waiting.values():
            answer.cancel()
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._reader is None or self._settler is None or self._listening is None:
            return
        self._reader.wake()
        await asyncio.wait([self._listening])
        self._settler.give_up_after(LONGEST_PAUSE)
        await self._settler.close()
        await self._reader.close()

    async def _open(self) -> None:
        if not isinstance(self._transport, Transport):
            raise Unsupported(
                f"{self._url} cannot be read, so no answer would come", hint="hivebus transports describe"
            )
        load_model()
        inbox = temporary_of(self._agent, os.urandom(8).hex())
        consumer = f"{self._agent}-{os.getpid()}-{os.urandom(4).hex()}"
        reader = await self._transport.open(Inbox(inbox), consumer=consumer, lease=self._lease)
        self.inbox = inbox
        self._settler = Settler(
            reader, lease=self._lease, max_batch=self._max_batch, settled=None, fenced=lambda token: None
        )
        self._reader = reader
        self._listening = asyncio.create_task(self._listen(reader, self._settler))

    async def _listen(self, reader: Reader, settler: Settler) -> None:
        pause = FIRST_PAUSE
        while not self._closed:
            try:
                deliveries = await reader.receive(limit=LIMIT, start=LIMIT, wait=WAIT)
                pause = FIRST_PAUSE
                await self._take(deliveries, settler)
            except HivebusError as error:
                _log.warning("answers cannot be read, trying again", extra={"error": str(error), "seconds": pause})
                # Full jitter: those who lost the same server do not come back together.
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(LONGEST_PAUSE, pause * 2)

    async def _take(self, deliveries: Sequence[Delivery], settler: Settler) -> None:
        late: list[tuple[Delivery, Message]] = []
        for delivery in deliveries:
            try:
                message = self._codec.decode(delivery.data)
            except InvalidMessage as error:
                settler.put(DeadLetter(delivery.token, f"invalid:{error.why}"))
                continue
            except Exception:  # noqa: BLE001 - a codec may fail in any way, and others wait for their answers
                _log.critical("an answer could not be read, and goes to its agent with the inbox", exc_info=True)
                continue
            waiting = self._waiting.get(message.correlation_id or "")
            if waiting is None or waiting.done():
                late.append((delivery, message))
                continue
            waiting.set_result(message)
            settler.put(Ack(delivery.token))
        for delivery, message in late:
            await self._pass_on(delivery, message)
            settler.put(Ack(delivery.token))

    async def _pass_on(self, delivery: Delivery, message: Message) -> None:
        """Give what nobody waits for to the agent. A failure leaves it where it is, to go there with the inbox."""
        _log.info(
            "an answer came too late, and went to the inbox of its agent",
            extra={"message_id": message.message_id, "correlation_id": message.correlation_id},
        )
        key = f"agent.{self._agent}.{message.message_type}"
        await self._sending.put(
            Outgoing(self._agent, message.message_id, key, delivery.priority, 0, message.ttl, delivery.data)
        )


def check_asked(to_agent: object) -> None:
    """Raise `InvalidMessage` for an address that more than one would answer, or nobody."""
    address = parse_address(limits.check_address(to_agent))
    if address.kind in ("everyone", "list") and len(address.names) != 1:
        raise InvalidMessage(
            field="to_agent",
            value=to_agent,
            rule="must be one agent or one @pool, since one answer is waited for; to ask several, send and receive",
        )


def _no_answer(question: Envelope, receipt: Receipt, *, timeout: float, closed: bool) -> NoAnswer:
    to = question.to_agent if isinstance(question.to_agent, str) else ",".join(question.to_agent)
    cause = receipt.notes[0] if receipt.notes else f"{to} has not answered it yet"
    if receipt.state == "duplicate":
        cause = "the question was sent before, and its answer goes to whoever asked first"
    when = "before the bus was closed" if closed else f"within {timeout:g} s"
    return NoAnswer(
        f"no answer from {to} {when}; the question {question.message_id} is stored",
        cause=cause,
        hint=f"a late answer goes to the inbox of {question.from_agent}: hivebus trace {question.message_id}",
        message_id=question.message_id,
    )
