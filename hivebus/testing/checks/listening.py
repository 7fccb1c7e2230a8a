"""What a listener promises: to hear what matches while it listens, and nothing else."""

from __future__ import annotations

import asyncio

from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Listener


@promise(Listener)
async def a_listener_hears_what_matches(h: Harness) -> None:
    """Of what is sent while it listens, a listener gets what matches a pattern, byte for byte."""
    inbox = h.inbox()
    patterns = [f"agent.{inbox}.system_alert", "agent.nobody.*"]
    await _subscribe(h, patterns)
    other = h.message(inbox, message_type="notification")
    alert = h.message(inbox, message_type="system_alert", data=b"\x00\xff\r\n alert")
    await h.publish(other, alert)
    heard = await h.eventually(lambda: h.listener.listen(patterns, limit=10, wait=0.1), "a listener heard nothing")
    expect(list(heard) == [alert.data], f"1 of 2 messages matches and {len(heard)} were heard")


@promise(Listener)
async def a_pattern_may_have_a_star(h: Harness) -> None:
    """A star stands for any agent or any type."""
    patterns = ["agent.*.system_alert"]
    await _subscribe(h, patterns)
    alert = h.message(h.inbox(), message_type="system_alert")
    await h.publish(alert, h.message(alert.inbox))
    heard = await h.eventually(lambda: h.listener.listen(patterns, limit=10, wait=0.1), "a listener heard nothing")
    expect(list(heard) == [alert.data], f"1 of 2 messages matches and {len(heard)} were heard")


@promise(Listener)
async def a_listener_keeps_to_its_limit(h: Harness) -> None:
    """A listener gets at most as many as it asked for, and the rest with the next call."""
    inbox = h.inbox()
    patterns = [f"agent.{inbox}.*"]
    await _subscribe(h, patterns)
    items = h.messages(inbox, 5)
    await h.publish(*items)
    heard: list[bytes] = []
    while len(heard) < 5:
        found = await h.eventually(
            lambda: h.listener.listen(patterns, limit=2, wait=0.1), "a listener heard too little"
        )
        expect(len(found) <= 2, f"2 were asked for and {len(found)} heard")
        heard += found
    expect(heard == [item.data for item in items], "messages were heard in another order than they were sent")


@promise(Listener)
async def listening_in_silence_ends(h: Harness) -> None:
    """When nothing is said, a call returns with nothing when its wait is over."""
    try:
        async with asyncio.timeout(h.patience):
            heard = await h.listener.listen([f"agent.{h.inbox()}.*"], limit=1, wait=0.2)
    except TimeoutError:
        expect(False, f"a listener that may wait 0.2 s had not returned after {h.patience:g} s")
    expect(not heard, "something was heard in silence")


async def _subscribe(h: Harness, patterns: list[str]) -> None:
    await h.listener.listen(patterns, limit=1, wait=0.1)
