"""The verbs of a bus that put messages into inboxes: send, ask, reply, broadcast."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

from hivebus import envelope as envelopes
from hivebus import limits
from hivebus.asking import check_asked
from hivebus.broadcasting import Broadcast, SendOptions, broadcast, check_wait, chosen
from hivebus.bus_open import OpenBus
from hivebus.errors import HivebusError
from hivebus.hops import hops_from_here
from hivebus.receipt import Receipt
from hivebus.replies import compose_reply

if TYPE_CHECKING:
    from datetime import datetime

    from hivebus.message import Message

QUESTION = "question"


class SendingBus(OpenBus):
    """Sends what its agent says; return and raise tell whether the server has it."""

    async def send(
        self,
        to_agent: str | Sequence[str],
        content: Any,
        *,
        message_type: str = envelopes.DEFAULT_TYPE,
        priority: str | int = envelopes.DEFAULT_PRIORITY,
        ttl: float | None = None,
        delay: float = 0,
        at: datetime | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        context: Mapping[str, Any] = envelopes.NOTHING,
        metadata: Mapping[str, Any] = envelopes.NOTHING,
        require_ack: bool = True,
        max_retries: int = envelopes.DEFAULT_MAX_RETRIES,
        retry_delay: float = envelopes.DEFAULT_RETRY_DELAY,
        traceparent: str | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Send one message; return once the server has it.

        Args:
            to_agent: an agent, or a list of agents, each of which gets the message under the same id.
            content: text or any JSON value.
            ttl: seconds until it expires unread; delay: seconds before it is queued.
            at: when it is queued instead, with a time zone; what is past is now. It is counted from the server's
                clock, or from the clock of this machine where the transport does not tell the time. Sending
                that has to wait or to be repeated makes it later by as much.
            message_id: send again with the id of a send whose outcome is unknown; it is stored once.

        Raises:
            InvalidMessage: a limit is broken, nothing was written.
            Refused: the server said no, nothing was written.
            Unknown, Unavailable: after ten seconds of trying; safe to send again with the same id.
        """
        envelope = envelopes.compose(
            self.agent,
            to_agent,
            content,
            message_type,
            priority,
            ttl,
            context,
            metadata,
            require_ack,
            max_retries,
            retry_delay,
            correlation_id,
            reply_to,
            traceparent,
            message_id,
            self._stamps,
            0 if correlation_id is None else hops_from_here(),
        )
        return await self._sending.send(envelope, delay=delay, at=at)

    async def send_message(self, message: Message, *, delay: float = 0, at: datetime | None = None) -> Receipt:
        """Send a message that was made before; the same object twice is stored once."""
        return await self._sending.send_message(message, delay=delay, at=at)

    async def send_many(self, messages: Sequence[Message]) -> list[Receipt | HivebusError]:
        """Send messages; return one receipt or one error per message, in order."""
        outcomes = await asyncio.gather(*(self.send_message(message) for message in messages), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, HivebusError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, (Receipt, HivebusError))]

    async def ask(
        self,
        to_agent: str | Sequence[str],
        content: Any,
        *,
        timeout: float = 30.0,
        message_type: str = QUESTION,
        priority: str | int = envelopes.DEFAULT_PRIORITY,
        ttl: float | None = None,
        correlation_id: str | None = None,
        context: Mapping[str, Any] = envelopes.NOTHING,
        metadata: Mapping[str, Any] = envelopes.NOTHING,
        require_ack: bool = True,
        max_retries: int = envelopes.DEFAULT_MAX_RETRIES,
        retry_delay: float = envelopes.DEFAULT_RETRY_DELAY,
        traceparent: str | None = None,
        message_id: str | None = None,
    ) -> Message:
        """Send a question to one agent, or to one member of a ``@pool``, and return the answer.

        The first answer is accepted. One that comes later, or after *timeout*, goes to the inbox of this agent with
        the id of the question as its ``correlation_id``. Being cancelled stops the waiting; the question stays sent.

        Args:
            timeout: seconds to wait for the answer, from now. The question waits for longer unless it has a *ttl*.

        Raises:
            NoAnswer: the question is stored, and no answer came so far.
            InvalidMessage, Refused, Unknown, Unavailable: as by `send`; no answer is waited for.
        """
        check_asked(to_agent)
        limits.check_timeout(timeout)
        question = envelopes.compose(
            self.agent,
            to_agent,
            content,
            message_type=message_type,
            priority=priority,
            ttl=ttl,
            context=context,
            metadata=metadata,
            require_ack=require_ack,
            max_retries=max_retries,
            retry_delay=retry_delay,
            correlation_id=correlation_id,
            reply_to=await self._asking.open(),
            traceparent=traceparent,
            message_id=message_id,
            stamps=self._stamps,
            hops=hops_from_here(),
        )
        return await self._asking.ask(question, timeout=timeout)

    async def reply(self, message: Message, content: Any, *, message_type: str | None = None) -> Receipt:
        """Answer a message: to its ``reply_to``, in the same conversation; a second reply is a duplicate."""
        envelope = compose_reply(message, content, from_agent=self.agent, message_type=message_type)
        return await self._sending.send(envelope)

    async def broadcast(
        self,
        content: Any,
        *,
        agents: Sequence[str] | None = None,
        live_only: bool = False,
        wait: Literal["acked"] | None = None,
        timeout: float | None = None,
        **options: Unpack[SendOptions],
    ) -> Broadcast:
        """Send one message to many, each of whom gets it in its own inbox under the same id.

        Everybody who is registered gets it, but for this agent itself; it gets its own broadcast only where it is
        named. Who is offline gets it later, unless *live_only* leaves it out. One recipient that cannot be given
        it, because its inbox is full, keeps nobody else from it.

        Args:
            content: text or any JSON value.
            agents: only these; names that nobody has registered are stored too, and their receipts say so.
            live_only: leave out who does not read its inbox at this moment.
            wait: ``"acked"`` waits until every recipient has acknowledged it, given it up or let time pass.
            timeout: seconds to wait for that; None is 30.
            options: those of `send`. With the ``message_id`` of a broadcast that was interrupted, it goes to
                those who do not have it yet.

        Returns:
            True when somebody has it and nobody is missing; it names who has it, who handled it, who failed, who
            is silent and who was not listening. `status` tells the same at any later time.

        Raises:
            InvalidMessage: a limit is broken, nothing was written.
            Refused, Unknown, Unavailable: nobody has got it; safe to send again with the same id.
        """
        check_wait(self._transport, wait=wait, timeout=timeout)
        names, left_out = await chosen(
            self._transport, self._sending, agents=agents, live_only=live_only, sender=self.agent
        )
        to = "*" if agents is None else list(agents)
        delay, at = options.get("delay", 0), options.get("at")
        said: Any = {name: value for name, value in options.items() if name not in ("delay", "at")}
        return await broadcast(
            envelopes.compose(self.agent, to, content, **said, stamps=self._stamps),
            names=names,
            left_out=left_out,
            transport=self._transport,
            sending=self._sending,
            wait=wait,
            timeout=timeout,
            delay=delay,
            at=at,
        )
