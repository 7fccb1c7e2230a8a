"""Many senders at once, and what became of each message."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hivebus.errors import HivebusError
from hivebus.transport import Outgoing
from hivebus_tmux.transport import TmuxTransport

from .ground import Ground, Window, message


class Counted(NamedTuple):
    """How many messages were in which way.

    Attributes:
        right: in their window, whole, once; lost: not there; foreign: copies in other windows.
        refused: of which the sender was told that they were not delivered.
    """

    right: int
    lost: int
    twice: int
    damaged: int
    foreign: int
    refused: int


def open_windows(ground: Ground, count: int) -> dict[str, Window]:
    return {f"agent-{number}": ground.open(f"agent-{number}") for number in range(count)}


def letters(agents: Sequence[str], *, senders: int, each: int) -> list[list[Outgoing]]:
    """Return what each sender sends: to every window in turn."""
    return [
        [
            message(agents[(sender + number) % len(agents)], f"{sender}/{number}\nline two", sender=f"sender-{sender}")
            for number in range(each)
        ]
        for sender in range(senders)
    ]


async def send(transport: TmuxTransport, items: Sequence[Outgoing]) -> int:
    """Send one after the other, as one sender does; return how many were not delivered as far as it was told."""
    failed = 0
    for item in items:
        (result,) = await transport.publish([item])
        failed += isinstance(result, HivebusError)
    return failed


async def send_all(transports: Sequence[TmuxTransport], posts: Sequence[Sequence[Outgoing]]) -> int:
    """Let all senders send at once, one transport each."""
    return sum(await asyncio.gather(*map(send, transports, posts)))


def count(
    windows: Mapping[str, Window], items: Sequence[Outgoing], transport: TmuxTransport, *, refused: int
) -> Counted:
    """Compare what was sent with what the programs in the windows read."""
    seen = {agent: window.messages() for agent, window in windows.items()}
    right = lost = twice = damaged = foreign = 0
    for item in items:
        own = [read for read in seen[item.inbox] if read.message_id == item.message_id]
        whole = Counter(read.fingerprint for read in own)[transport.fingerprint(item.data)]
        right += whole == len(own) == 1
        lost += not own
        twice += len(own) > 1
        damaged += len(own) - whole
        foreign += sum(
            read.message_id == item.message_id for agent, reads in seen.items() if agent != item.inbox for read in reads
        )
    return Counted(right, lost, twice, damaged, foreign, refused)
