"""From a connected transport to somebody who can be listened to, and to messages one by one."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hivebus.errors import InvalidMessage, Unsupported
from hivebus.patterns import Patterns
from hivebus.transport import Capabilities, Listener, Notifying, Publisher

if TYPE_CHECKING:
    from hivebus.message import Message

AT_ONCE = 100
WAIT = 5.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def tuned_in(
    transport: Publisher, capabilities: Capabilities, *, where: str
) -> AsyncIterator[tuple[Listener, Capabilities]]:
    """Connect a listener of the same server, say what it can do, and close it in the end.

    Each has its own, since what one takes is not there for the next.

    Raises:
        Unsupported: nobody can be listened to there. Unavailable: the server does not answer.
    """
    if not isinstance(transport, Notifying):
        if isinstance(transport, Listener):
            yield transport, capabilities
            return
        raise Unsupported(
            f"{where} cannot be listened to",
            cause="it has no fire-and-forget road: it is neither Notifying nor a Listener",
            hint="redis://, redis+pubsub:// and memory:// can",
        )
    listener = transport.listener()
    try:
        yield listener, await listener.connect()
    finally:
        await listener.close()


async def heard(listener: Listener, patterns: Patterns, *, read: Callable[[bytes], Message]) -> AsyncGenerator[Message]:
    """Yield what is heard, for as long as the caller wants; what is no message is skipped, and logged."""
    while True:
        for data in await listener.listen(patterns.texts, limit=AT_ONCE, wait=WAIT):
            try:
                message = read(data)
            except InvalidMessage as error:
                facts = {"why": error.why, "error": error.what}
                _log.warning("what was heard is no message, and is skipped", extra=facts)
            else:
                yield message
