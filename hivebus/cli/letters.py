"""Dead letters on the command line: which ones are meant, and how they are shown."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from hivebus.cli.app import App
from hivebus.cli.link import Link, as_json
from hivebus.cli.output import duration, preview, shown_ids, table
from hivebus.errors import InvalidMessage, NotFound
from hivebus.transport import Clock, Located

PAGE = 500
"""How many dead letters are read or changed in one call."""
HEAD = ("ID", "AGE", "AGENT", "TYPE", "TRIES", "REASON", "FROM", "PREVIEW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for: either names, or what the letters have in common.

    Attributes:
        names: ids of messages or letters, or unique beginnings of them.
        reason: a part of the reason, as it stands there.
        older_than: seconds since the message was accepted.
        limit: the most, beginning with the oldest.
    """

    names: Sequence[str] = ()
    reason: str | None = None
    older_than: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: where it is, and its facts as they stand in JSON output."""

    place: Located
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """What people call it: the id of its message, where it has one."""
        return self.place.message_id or self.place.letter or ""


# --- Finding ---------------------------------------------------------------------------------------


async def choose(app: App, link: Link, wanted: Wanted) -> list[Letter]:
    """Return the dead letters that are meant: as they were named, or else the oldest first.

    Raises `NotFound` for a name that is not that of one letter.
    """
    found = [each async for each in every_letter(app, link)]
    if wanted.names:
        # One that is named twice, by its beginning and as a whole, is one letter.
        chosen = [one_of(found, name) for name in wanted.names]
        return [each for at, each in enumerate(chosen) if each not in chosen[:at]]
    if wanted.reason is not None:
        found = [each for each in found if wanted.reason in (each.place.reason or "")]
    if wanted.older_than is not None:
        latest = await _server_time(link) - wanted.older_than
        found = [each for each in found if each.place.at is not None and each.place.at <= latest]
    return _oldest_first(found)[: wanted.limit]


async def every_letter(app: App, link: Link, *, limit: int | None = None) -> AsyncIterator[Letter]:
    """Yield the dead letters of each inbox, newest first, at most *limit* of each."""
    letters = link.dead_letters()
    for inbox in await _inboxes(app, link):
        left, last = limit, None
        while left is None or left > 0:
            page = await letters.dead(inbox, limit=PAGE if left is None else min(left, PAGE), before=last)
            if not page:
                break
            for place in page:
                yield Letter(place, _facts(link, place))
            left, last = None if left is None else left - len(page), page[-1].letter


def one_of(letters: Sequence[Letter], name: str) -> Letter:
    """Return the letter of that name, or of the only name that begins so; raises `NotFound`."""
    exact = [each for each in letters if name in (each.place.message_id, each.place.letter)]
    # What has an id is listed by it: the beginning of its other name would hit many.
    meant = exact or [each for each in letters if each.name.startswith(name)]
    if not meant or not name:
        raise NotFound(f"no dead letter {name!r}", hint="hivebus dlq list")
    if len(meant) > 1:
        what = f"{name!r} is the beginning of {len(meant)} dead letters"
        raise NotFound(what, hint="give more of the id, or --agent")
    return meant[0]


async def _inboxes(app: App, link: Link) -> Sequence[str]:
    # Only the flag narrows the list: an operator whose shell belongs to an agent still sees everything.
    if chosen := app.chosen_inbox:
        return [chosen]
    return await link.inspectable(to="list inboxes").inboxes()


def _oldest_first(letters: Sequence[Letter]) -> list[Letter]:
    # Turned round first: those of one millisecond keep the order in which they died.
    oldest_first = list(reversed(letters))
    oldest_first.sort(key=lambda each: each.place.at or 0)
    return oldest_first


async def _server_time(link: Link) -> float:
    if isinstance(link.transport, Clock):
        return await link.transport.now()
    return time.time()


# --- Showing ---------------------------------------------------------------------------------------


def show_table(letters: Sequence[Letter]) -> None:
    """Print a row for each letter."""
    ids = shown_ids([each.name for each in letters])
    table(HEAD, [[shown, *_row(each)] for shown, each in zip(ids, letters, strict=True)])


def _facts(link: Link, place: Located) -> dict[str, Any]:
    message = link.message(place.data)
    return {
        "message_id": place.message_id,
        "letter": place.letter,
        "agent": place.inbox,
        "reason": place.reason,
        "attempts": place.attempts,
        "requeued": place.requeued,
        # What is no message is shown as the text that it is.
        "message": (place.data or b"").decode(errors="replace")
        if isinstance(message, InvalidMessage)
        else as_json(message),
    }


def _row(letter: Letter) -> list[object]:
    place, message = letter.place, letter.facts["message"]
    age = duration(None if place.at is None else time.time() - place.at)
    known = isinstance(message, dict)
    return [
        age,
        place.inbox,
        message["message_type"] if known else None,
        place.attempts,
        f"{place.reason} (requeued before: {place.requeued})" if place.requeued else place.reason,
        message["from_agent"] if known else None,
        preview(message["body"]["content"] if known else message),
    ]
