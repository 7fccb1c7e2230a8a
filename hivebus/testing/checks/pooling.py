"""What a process that reads several inboxes needs, and how those that read one share it."""

from __future__ import annotations

import asyncio

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Reader, Transport


@promise(Transport, proves="pools")
async def a_glance_takes_nothing(h: Harness) -> None:
    """Who glances is told how many messages of each level wait, and takes none of them."""
    inbox = h.inbox()
    await h.publish(*h.messages(inbox, 3, priority=4), h.message(inbox, priority=1))
    reader = await h.reader(inbox)
    seen = list(await reader.glance(limit=10, wait=0))
    expect(seen == [0, 1, 0, 0, 3, 0], f"3 urgent messages and a low one wait, and a glance says {seen}")
    other = await h.reader(inbox)
    taken = await h.drain(other, 4)
    expect(all(delivery.attempt == 1 for delivery in taken), "a glance was counted as an attempt")
    seen = list(await reader.glance(limit=10, wait=0))
    expect(not any(seen), f"nothing waits any more, and a glance says {seen}")


@promise(Transport, proves="pools")
async def a_glance_waits_for_the_first(h: Harness) -> None:
    """Who glances at an empty inbox is told as soon as something comes, or when it is woken."""
    inbox = h.inbox()
    reader = await h.reader(inbox)
    waiting = asyncio.create_task(reader.glance(limit=10, wait=h.patience * 2))
    await h.let_pass(h.lease / 2)
    if waiting.done():
        seen = list(await waiting)
        expect(False, f"a glance at an empty inbox did not wait, and says {seen}")
    await h.publish(h.message(inbox))
    async with asyncio.timeout(h.patience):
        seen = list(await waiting)
    expect(seen == [0, 0, 1, 0, 0, 0], f"a message came, and a glance says {seen}")
    idle = await h.reader(h.inbox())
    waiting = asyncio.create_task(idle.glance(limit=10, wait=h.patience * 2))
    await h.let_pass(h.lease / 2)
    idle.wake()
    async with asyncio.timeout(h.patience):
        await waiting


@promise(Transport, proves="pools")
async def members_that_wait_get_even_shares(h: Harness) -> None:
    """Of messages that come while three members wait, each is given a third, however many it has room for."""
    inbox = f"@{h.inbox()}"
    members = [await h.reader(inbox) for _ in range(3)]
    await members[0].glance(limit=30, wait=0)
    ending = asyncio.Event()
    taking = [asyncio.create_task(_take_until(ending, member)) for member in members]
    await h.let_pass(h.lease / 2)
    await h.publish(*h.messages(inbox, 30))
    await h.let_pass(h.lease)
    ending.set()
    for member in members:
        member.wake()
    shares = sorted(await asyncio.gather(*taking))
    expect(sum(shares) == 30, f"30 messages were sent and {sum(shares)} taken")
    expect(shares[0] >= 8 and shares[-1] <= 12, f"of 30 messages the members were given {shares}")


@promise(Transport, proves="pools")
async def nothing_waits_for_a_member_that_does_not_come(h: Harness) -> None:
    """A member that asked once and is silent since, alive or not, keeps no message from the others."""
    inbox = f"@{h.inbox()}"
    silent, reader = await h.reader(inbox), await h.reader(inbox)
    await reader.glance(limit=1, wait=0)
    await h.nothing(silent, seconds=0)
    await h.publish(*h.messages(inbox, 20))
    taken = await h.drain(reader, 20)
    await h.ack(reader, *taken)


async def _take_until(ending: asyncio.Event, reader: Reader) -> int:
    taken = 0
    while not ending.is_set():
        taken += len(await reader.receive(limit=30, start=0, wait=1.0))
    return taken
