"""Pools on the command line: their inboxes, and what one agent's commands hold in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivebus.cli.link import LOOK, Link, find
from hivebus.cli.taking import is_mine, is_ours
from hivebus.errors import NotFound
from hivebus.pools import inbox_of, join, not_there, require_pools
from hivebus.transport import Inbox, Located

if TYPE_CHECKING:
    from hivebus.cli.app import App
    from hivebus.transport import PoolPolicy


async def inboxes_of_pools(link: Link) -> list[str]:
    """Return the inboxes of all pools."""
    names = await link.inspectable(to="find pools").inboxes()
    return [name for name in names if name.startswith("@")]


async def known_inbox(link: Link, pool: str) -> str:
    """Return the inbox of a pool, or raise `NotFound` with the names that may be meant."""
    known = await inboxes_of_pools(link)
    if inbox_of(pool) not in known:
        raise not_there(pool, [name[1:] for name in known])
    return inbox_of(pool)


async def join_inbox(app: App, link: Link, pool: str, *, policy: PoolPolicy | None) -> Inbox:
    """Return the inbox of a pool to read from; it is made when there is none."""
    directory = require_pools(link.capabilities, link.transport, url=app.settings.url)
    return Inbox(inbox_of(pool), policy=await join(directory, pool, policy=policy))


async def find_held(link: Link, given: Sequence[str], agent: str) -> list[Located]:
    """Return where each of *given* is: in the agent's inbox, or in a pool where it holds it; raises `NotFound`."""
    found: list[Located] = []
    for text in given:
        try:
            found += await find(link, [text], [agent])
        except NotFound:
            place = await _in_pools(link, text, agent)
            if place is None:
                raise
            found.append(place)
    return found


async def held_in_pools(link: Link, agent: str) -> list[Located]:
    """Return what commands of this agent hold in pools."""
    inspectable = link.inspectable(to="find messages")
    names = await inboxes_of_pools(link)
    counts = await inspectable.counts(names) if names else []
    held: list[Located] = []
    for name, count in zip(names, counts, strict=True):
        if count.in_flight:
            held += [each for each in await inspectable.held(name, limit=LOOK) if _is_held_by(each, agent)]
    return held


async def _in_pools(link: Link, text: str, agent: str) -> Located | None:
    held = [each for each in await held_in_pools(link, agent) if each.message_id.startswith(text)]
    exact = [each for each in held if each.message_id == text]
    if len(exact or held) > 1:
        raise NotFound(f"{text!r} is the beginning of {len(held)} ids", hint="give more of the id")
    if held:
        return (exact or held)[0]
    # Settled before, or somebody else's: whoever asks is told which.
    places = await link.inspectable(to="find messages").locate([text], await inboxes_of_pools(link))
    return places[0] if places else None


def _is_held_by(place: Located, agent: str) -> bool:
    return is_ours(place.consumer) and is_mine(place.consumer, agent)
