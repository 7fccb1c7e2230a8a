"""The verbs of a bus that say something to whoever listens at that moment, and hear it; no inbox, no ack."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from hivebus import envelope as envelopes
from hivebus.bus_open import OpenBus

if TYPE_CHECKING:
    from hivebus.message import Message
    from hivebus.receipt import Receipt


class NotifyingBus(OpenBus):
    """Says and hears what nobody keeps."""

    async def notify(
        self,
        to_agent: str | Sequence[str],
        content: Any,
        *,
        message_type: str = "notification",
        priority: str | int = envelopes.DEFAULT_PRIORITY,
        correlation_id: str | None = None,
        context: Mapping[str, Any] = envelopes.NOTHING,
        metadata: Mapping[str, Any] = envelopes.NOTHING,
    ) -> Receipt:
        """Say something to whoever listens at this moment, and to nobody else: it goes into no inbox.

        It wants no ack, and there is none. What nobody hears is gone, and `Receipt.heard` is 0 then.

        Raises:
            InvalidMessage: a limit is broken, nobody heard it.
            Unsupported: the transport has no such road.
            Unknown: the connection was lost on the way; it was heard or not, and is not said again.
            Unavailable: the server is away; nobody heard it.
        """
        envelope = envelopes.compose(
            from_agent=self.agent,
            to_agent=to_agent,
            content=content,
            message_type=message_type,
            priority=priority,
            context=context,
            metadata=metadata,
            require_ack=False,
            correlation_id=correlation_id,
            stamps=self._stamps,
        )
        return await self._notices.send(envelope)

    async def listen(self, patterns: str | Sequence[str]) -> AsyncGenerator[Message]:
        """Yield what is said by `notify`, from the moment that somebody iterates; there is nothing to settle.

        What is no message is skipped, with a warning in the log. When the connection is lost it is made again,
        and the log says that something may have been missed.

        Args:
            patterns: of routing keys ``agent.<to_agent>.<message_type>``: ``*`` is one part, ``#`` at the end is
                all the rest, such as ``agent.pm-agent.#`` or ``agent.*.system_alert``.

        Raises:
            InvalidMessage: a pattern is none. Unsupported: nobody can be listened to there.
            Unavailable: the server was away for ten seconds.
        """
        async with aclosing(self._notices.listen(patterns)) as messages:
            async for message in messages:
                yield message
