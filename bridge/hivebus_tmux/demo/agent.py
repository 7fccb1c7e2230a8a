"""One agent of the demo: sends to its peers at random times, handles what they send, keeps a journal.

Started again after a kill, it goes on where its journal ends: what was on its way is sent again
under the same id.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time

from hivebus import Bus, Message
from hivebus.errors import HivebusError
from hivebus_tmux.demo import journal
from hivebus_tmux.demo.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one agent plays.

    Attributes:
        count: how many messages it sends; rate: how many a second on average.
        work: the longest that its handler takes, in seconds; 0 is an agent that only sends, because what
            comes for it is typed into its window.
        folder: where its journal is.
    """

    name: str
    peers: tuple[str, ...]
    count: int
    rate: float
    work: float
    url: str
    lease: float
    folder: Path

    @property
    def journal(self) -> Path:
        """The file of its journal."""
        return self.folder / f"{self.name}.jsonl"

    def words(self) -> list[str]:
        """Return the command line that plays this part."""
        facts = [self.name, ",".join(self.peers), self.count, self.rate, self.work, self.url, self.lease, self.folder]
        return [sys.executable, "-m", "hivebus_tmux.demo.agent", *map(str, facts)]


async def play(part: Part) -> None:
    """Send and handle until SIGTERM; an agent that only sends ends when it has."""
    done = {line["id"] for line in journal.read(part.journal) if line["event"] == journal.SENT}
    notes = Journal(part.journal)
    async with Bus(part.url, agent=part.name, lease=part.lease) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            notes.note(
                journal.STARTED,
                message.message_id,
                hash=digest(message.content),
                to=message.to_agent,
                seconds=time() - message.timestamp.timestamp(),
            )
            await asyncio.sleep(random.uniform(part.work / 10, part.work))
            notes.note(journal.HANDLED, message.message_id)

        sending = asyncio.create_task(_send_all(bus, part, notes, done))
        if part.work:
            await bus.run()
            sending.cancel()
        await asyncio.wait([sending])
    notes.close()


def digest(content: str) -> str:
    """Return what tells one text from another."""
    return sha256(content.encode()).hexdigest()[:16]


async def _send_all(bus: Bus, part: Part, notes: Journal, done: set[str]) -> None:
    # Each on its own, as scripts that are started one after the other: none waits for the one before it.
    async with asyncio.TaskGroup() as sends:
        for number in range(part.count):
            message_id = f"{part.name}-{number:05d}"
            if message_id not in done:
                # Poisson arrivals: independent senders do not keep in step.
                await asyncio.sleep(random.expovariate(part.rate))
                sends.create_task(_send(bus, part, notes, message_id))


async def _send(bus: Bus, part: Part, notes: Journal, message_id: str) -> None:
    # Seeded by the id, so that a message that is sent again is the same message.
    chance = random.Random(message_id)
    number = message_id.rpartition("-")[2]
    to, content = chance.choice(part.peers), f"task {number}: " + chance.randbytes(chance.randint(20, 400)).hex()
    priority = chance.choice(("low", "medium", "high")) if part.work else "medium"
    notes.note(journal.SENDING, message_id, hash=digest(content), to=to)
    try:
        receipt = await bus.send(to, content, message_id=message_id, priority=priority, retry_delay=1)
    except HivebusError as error:
        # It is counted by what arrived.
        print(f"{message_id}: {error}", file=sys.stderr)  # noqa: T201
        return
    notes.note(journal.SENT, message_id, state=receipt.state)


def main(words: list[str]) -> None:
    """Play the part on the command line, as `Part.words` wrote it."""
    name, peers, count, rate, work, url, lease, folder = words
    part = Part(
        name=name,
        peers=tuple(peers.split(",")),
        count=int(count),
        rate=float(rate),
        work=float(work),
        url=url,
        lease=float(lease),
        folder=Path(folder),
    )
    asyncio.run(play(part))


if __name__ == "__main__":
    main(sys.argv[1:])
