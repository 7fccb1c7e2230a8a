"""Which settled messages are forgotten when they take too much room: the oldest, in whichever inbox they are.

So the history of all inboxes reaches back equally far. What is not settled is counted and never touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from hivebus.tidying import Shed, Tidying

CHUNK = 1000
"""How many messages one step forgets at most: about a millisecond of the server's time."""


async def shed_older(
    tidying: Tidying, inboxes: Sequence[str], *, older_than: float, dry_run: bool = False, pause: float = 0.0
) -> dict[str, Shed]:
    """Forget what is settled and older than that many seconds; return what went, by inbox."""
    gone = {inbox: Shed() for inbox in inboxes}
    for inbox in inboxes:
        while True:
            step = await tidying.shed(
                inbox, older_than=older_than, limit=CHUNK, dry_run=dry_run, behind=gone[inbox].behind
            )
            gone[inbox] = _joined(gone[inbox], step)
            if step.oldest is None:
                break
            await asyncio.sleep(pause)
    return gone


async def shed_to(
    tidying: Tidying,
    inboxes: Sequence[str],
    *,
    max_bytes: int,
    gone: Mapping[str, Shed] | None = None,
    dry_run: bool = False,
    pause: float = 0.0,
) -> dict[str, Shed]:
    """Forget the oldest settled messages until the inboxes take *max_bytes*, or only what is not settled is left.

    Args:
        inboxes: those that share the bytes.
        gone: what a dry run has counted before.
        pause: seconds between two steps.

    Returns:
        What went, by inbox, with what *gone* counted already.
    """
    gone = dict(gone or {inbox: Shed() for inbox in inboxes})
    holdings = await tidying.holding(inboxes)
    excess = sum(each.bytes for each in holdings) - max_bytes
    if dry_run:
        excess -= sum(each.bytes for each in gone.values())
    oldest = [
        # A dry run has taken nothing away, and goes on behind what it has counted.
        ((gone[inbox].last if dry_run else None) or each.oldest, inbox)
        for inbox, each in zip(inboxes, holdings, strict=True)
        if each.oldest is not None
    ]
    heapify(oldest)
    while excess > 0 and oldest:
        # Only its share: what comes next in this inbox may be younger than what others hold.
        share = max(1, excess // len(oldest))
        _, inbox = heappop(oldest)
        step = await tidying.shed(
            inbox, older_than=0, limit=CHUNK, want=share, dry_run=dry_run, behind=gone[inbox].behind
        )
        excess -= step.bytes
        gone[inbox] = _joined(gone[inbox], step)
        if step.messages and step.oldest is not None:
            heappush(oldest, (step.oldest, inbox))
        await asyncio.sleep(pause)
    return gone


def _joined(one: Shed, other: Shed) -> Shed:
    return Shed(
        messages=one.messages + other.messages,
        bytes=one.bytes + other.bytes,
        first=_least(one.first, other.first),
        last=_most(one.last, other.last),
        oldest=other.oldest,
        behind=other.behind,
    )


def _least(one: float | None, other: float | None) -> float | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _most(one: float | None, other: float | None) -> float | None:
    return max((each for each in (one, other) if each is not None), default=None)
