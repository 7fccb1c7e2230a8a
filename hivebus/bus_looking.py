"""The verbs of a bus about what was sent before: what became of it, taken back, read again, sent again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import TYPE_CHECKING

from hivebus.bus_sending import SendingBus
from hivebus.cancelling import Cancellation, cancel
from hivebus.message_status import Status, status_of
from hivebus.transport import Counts, Inspectable, Replayable, Schedules

if TYPE_CHECKING:
    from hivebus import replaying
    from hivebus.message import Message


class LookingBus(SendingBus):
    """Asks what became of messages, those of other agents too; `replay` sends what it finds."""

    async def status(self, message_id: str, *, agent: str | None = None) -> Status:
        """Return what became of a message, from any process; without *agent* every inbox is asked."""
        inspectable = self._offers(Inspectable, "inspect")
        inboxes = [agent] if agent else await inspectable.inboxes()
        return status_of(message_id, await inspectable.locate([message_id], inboxes))

    async def queue(self, agent: str) -> Counts:
        """Return the counts of one inbox at this moment."""
        return (await self._offers(Inspectable, "inspect").counts([agent]))[0]

    async def cancel(self, message_id: str, *, agent: str | None = None) -> Cancellation:
        """Take back what was not handed out yet, and say what happened; without *agent*, from every inbox.

        Returns:
            True when nobody will be handed the message: its status is then ``cancelled``. Otherwise its
            `outcome` says why not: ``handed_out``, ``expired`` or ``unknown``. Cancelling twice is harmless.
        """
        inspectable = self._offers(Inspectable, "inspect")
        schedules = self._offers(Schedules, "cancel")
        inboxes = [agent] if agent else await inspectable.inboxes()
        return await cancel(message_id, inboxes, schedules=schedules, inspectable=inspectable)

    async def history(
        self, agent: str, *, since: str | float = "24h", limit: int | None = None
    ) -> AsyncGenerator[Message]:
        """Yield what an agent was sent within that time, oldest first; reads, and changes nothing.

        Dead letters and cancelled messages are no history. What is settled is kept for a day unless the settings say
        otherwise, and less long where it would take too much room.
        """
        # Imported here and below: most buses never look that far back.
        from hivebus import replaying

        source = self._offers(Replayable, "replay")
        oldest = replaying.age(since, field="since")
        async for message in replaying.messages_of(source, agent, since=oldest, limit=limit, read=self._codec.decode):
            yield message

    async def replay(
        self,
        agent: str,
        *,
        since: str | float,
        until: str | float | None = None,
        ids: Collection[str] | None = None,
        types: Collection[str] | None = None,
        to: str | None = None,
        rate: float | None = None,
        label: str | None = None,
        dry_run: bool = False,
    ) -> replaying.ReplayReport:
        """Send a part of an agent's history again, oldest first: to the same agent, or to another one.

        Each is a new message with the old id as its ``replay_of``, a new timestamp, and its time to live from now.
        What still waits in the inbox that it would go to is left out, and counted.

        Args:
            agent: whose history.
            since: the oldest age, such as ``"1h"`` or seconds; until: the youngest.
            ids: only these; types: only of these types.
            to: who gets them instead.
            rate: messages a second; None is as fast as it goes.
            label: names the run. Repeated with the same label, it stores nothing twice, so that one that was
                interrupted can go on; None makes up a new one.
            dry_run: send nothing, only say what would be sent.

        Raises:
            InvalidMessage: an argument is wrong.
            Refused, Unknown, Unavailable: a message could not be sent; the hint says how to go on.
        """
        from hivebus import replaying

        wanted = replaying.wish(agent, since=since, until=until, ids=ids, types=types, to=to, rate=rate, label=label)
        source = self._offers(Replayable, "replay")
        send = None if dry_run else self.send_many
        return await replaying.replay(source, wanted, read=self._codec.decode, send=send)
