"""A connection to the bus for one command, and ways to find a message by a part of its id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hivebus import opening
from hivebus.cli.app import App
from hivebus.codec import Codec
from hivebus.errors import InvalidMessage, NotFound, Unsupported
from hivebus.transport import (
    Capabilities,
    DeadLetters,
    Directory,
    Inspectable,
    Located,
    Publisher,
    Schedules,
    Transport,
)

if TYPE_CHECKING:
    # The model is imported when a message is read: most commands never do, and it takes a quarter of their time.
    from hivebus.message import Message

LOOK = 1000
"""How many messages of an inbox a command looks at."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Link:
    """An open connection.

    Attributes:
        transport: what moves messages; closed when the command ends.
        capabilities: what the server can do.
        codec: reads and writes messages.
    """

    transport: Publisher
    capabilities: Capabilities
    codec: Codec

    def inspectable(self, *, to: str) -> Inspectable:
        """Return the transport as one that answers questions; *to* says what for."""
        if isinstance(self.transport, Inspectable):
            return self.transport
        raise _unable(to, Inspectable)

    def receiving(self) -> Transport:
        """Return the transport as one whose inboxes can be read."""
        if isinstance(self.transport, Transport):
            return self.transport
        raise _unable("be received from", Transport)

    def dead_letters(self) -> DeadLetters:
        """Return the transport as one that keeps dead letters."""
        if isinstance(self.transport, DeadLetters):
            return self.transport
        raise _unable("list dead letters", DeadLetters)

    def directory(self, *, to: str) -> Directory:
        """Return the transport as one that keeps shared facts; *to* says what for."""
        if isinstance(self.transport, Directory):
            return self.transport
        raise _unable(to, Directory)

    def schedules(self) -> Schedules:
        """Return the transport as one that takes messages back."""
        if isinstance(self.transport, Schedules):
            return self.transport
        raise _unable("take messages back", Schedules)

    def message(self, data: bytes | None) -> Message | InvalidMessage:
        """Return the message, or what is wrong with it."""
        try:
            return self.codec.decode(data or b"")
        except InvalidMessage as error:
            return error


@asynccontextmanager
async def connect(app: App) -> AsyncIterator[Link]:
    """Connect to the configured server, and disconnect in the end; raises `Unavailable`."""
    settings = app.settings
    app.name_server()
    opened = await opening.connect(
        settings.url, namespace=settings.namespace, durability=settings.durability, require=(), plugins=()
    )
    try:
        yield Link(opened.transport, opened.capabilities, opened.plugins.codec(limit=opened.limit))
    finally:
        await opened.transport.close()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the asynchronous part of a command."""
    return asyncio.run(work)


async def find(link: Link, given: Sequence[str], inboxes: Sequence[str]) -> list[Located]:
    """Return where each of *given* is, by its id or by the beginning of it; raises `NotFound`."""
    inspectable = link.inspectable(to="find messages")
    known: list[Located] | None = None
    found: list[Located] = []
    for text in given:
        places = await inspectable.locate([text], inboxes)
        if not places:
            known = await _all(link, inboxes) if known is None else known
            places = [place for place in known if place.message_id.startswith(text)]
        found.append(_one(text, places, inboxes))
    return found


def as_json(message: Message) -> dict[str, Any]:
    """Return the message as it stands in JSON output: the canonical shape."""
    facts: dict[str, Any] = json.loads(message.to_json())
    return facts


async def _all(link: Link, inboxes: Sequence[str]) -> list[Located]:
    found: list[Located] = []
    for inbox in inboxes:
        inspectable = link.inspectable(to="find messages")
        # What is held may hide behind messages of a higher level that wait.
        found += [*await inspectable.held(inbox, limit=LOOK), *await inspectable.peek(inbox, limit=LOOK)]
        if isinstance(link.transport, DeadLetters):
            found += await link.transport.dead(inbox, limit=LOOK)
    return found


def _one(text: str, places: Sequence[Located], inboxes: Sequence[str]) -> Located:
    where = inboxes[0] if len(inboxes) == 1 else "any inbox"
    if not places:
        raise NotFound(
            f"{where} knows no message {text!r}",
            cause="it was never sent there, or it was settled more than an hour ago",
            hint=f"hivebus inbox --agent {where}" if len(inboxes) == 1 else "hivebus queues",
        )
    ids = sorted({place.message_id for place in places})
    if len(ids) > 1:
        raise NotFound(f"{text!r} is the beginning of {len(ids)} ids: {', '.join(ids[:3])}", hint="give more of the id")
    return places[0]


def _unable(to: str, kind: type[object]) -> Unsupported:
    return Unsupported(
        f"this transport cannot {to}",
        cause=f"it does not offer {kind.__name__}",
        hint="`hivebus transports describe` shows what it can do",
    )
