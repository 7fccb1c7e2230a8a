"""What becomes of one delivery: decoded, given to its handler, and what that did as a settlement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from hivebus.codec import Codec
from hivebus.errors import InvalidMessage, Reject, one_line
from hivebus.hops import HOP_LIMIT, handling, is_too_far
from hivebus.outcomes import Outcomes
from hivebus.retry import is_exhausted, retry_delay
from hivebus.transport import Ack, DeadLetter, Delivery, Outgoing, Retry, Settlement

if TYPE_CHECKING:
    from hivebus.message import Message

Handler = Callable[["Message"], Awaitable[Any]]
"""Handles one message; what it returns may become a reply."""
Reply = Callable[["Message", Any], Awaitable[Outgoing | None]]
"""Makes the reply that travels in the ack out of what a handler returned, if there is to be one."""
_log = logging.getLogger(__name__)


class Handling:
    """Everything between a delivery and its settlement.

    Args:
        codec: turns bytes into messages.
        handler: finds the handler of a message, which is called once per delivery.
        reply: makes a reply out of what a handler returned.
        send: sends a reply whose message was settled before its handler ran.
        outcomes: keeps what handlers returned that shall do their work once; None when there are none.
        max_hops: how many messages may lead to one.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        handler: Callable[[Message], Handler],
        reply: Reply,
        send: Callable[[Outgoing], Awaitable[Any]],
        outcomes: Outcomes | None,
        max_hops: int,
    ) -> None:
        self._codec = codec
        self._handler = handler
        self._reply = reply
        self._send = send
        self._outcomes = outcomes
        self._max_hops = max_hops

    def decode(self, delivery: Delivery) -> Message | DeadLetter:
        """Return the message, or the dead letter that it is when it cannot be read or came too far."""
        try:
            message = self._codec.decode(delivery.data)
            if is_too_far(message, limit=self._max_hops):
                _log.warning(
                    "a message became a dead letter", extra={"message_id": message.message_id, "reason": HOP_LIMIT}
                )
                return DeadLetter(delivery.token, HOP_LIMIT)
            return message
        except InvalidMessage as error:
            _log.warning(
                "a message became a dead letter", extra={"token": delivery.token, "reason": f"invalid:{error.why}"}
            )
            return DeadLetter(delivery.token, f"invalid:{error.why}")

    async def handle(self, delivery: Delivery, message: Message, task: asyncio.Task[None]) -> Settlement:
        """Run the handler in *task*: returning acks, raising retries, `Reject` and too many failures give up.

        Raises `CancelledError` when the task was cancelled from outside: then nothing is known about the message.
        """
        handling(message)
        try:
            if self._outcomes is not None and self._outcomes.applies_to(message):
                return await self._handle_once(self._outcomes, delivery, message)
            result = await self._handler(message)(message)
            return Ack(delivery.token, None, None if result is None else await self._reply(message, result))
        except asyncio.CancelledError as error:
            if task.cancelling():
                # Stopped or fenced: handed back uncounted, unless it is somebody else's already.
                raise
            return self._failed(delivery, message, error)
        except Reject as verdict:
            return DeadLetter(delivery.token, one_line(str(verdict.reason)))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is a failed attempt, and never ours
            return self._failed(delivery, message, error)

    async def handle_unacknowledged(self, message: Message, task: asyncio.Task[None]) -> None:
        """Run the handler of a message that is settled already: what it raises is logged, and that is all."""
        handling(message)
        try:
            result = await self._handler(message)(message)
            reply = None if result is None else await self._reply(message, result)
            if reply is not None:
                await self._send(reply)
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            self._lost(message, error)
        except Exception as error:  # noqa: BLE001 - see `handle`
            self._lost(message, error)

    async def _handle_once(self, outcomes: Outcomes, delivery: Delivery, message: Message) -> Settlement:
        kept = await outcomes.find(message) if delivery.attempt > 1 else None
        if kept is None:
            result = await self._handler(message)(message)
            try:
                kept = outcomes.encode(result)
            except InvalidMessage as error:
                # Its work is done: run again, it would be done twice.
                return DeadLetter(delivery.token, one_line(f"invalid_outcome: {error.rule}"))
        result = outcomes.decode(kept)
        return Ack(delivery.token, kept, None if result is None else await self._reply(message, result))

    def _failed(self, delivery: Delivery, message: Message, error: BaseException) -> Settlement:
        options = message.delivery_options
        failures = delivery.failures + 1
        _log.warning(
            "a handler failed",
            extra={"message_id": message.message_id, "failures": failures, "error": type(error).__name__},
            exc_info=error,
        )
        if is_exhausted(failures=failures, max_retries=options.max_retries):
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return DeadLetter(delivery.token, f"max_retries: {one_line(text)}")
        return Retry(delivery.token, retry_delay(failures=failures, base=options.retry_delay))

    def _lost(self, message: Message, error: BaseException) -> None:
        _log.warning(
            "a handler failed with a message that wanted no ack, so it is not tried again",
            extra={"message_id": message.message_id, "error": type(error).__name__},
            exc_info=error,
        )
