"""What a listener promises: to hear what matches while it listens, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from hivebus.errors import InvalidMessage, Unsupported
from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import Listener, Outgoing, Published

PATIENCE = 2.0
"""Seconds for which a check waits for all that it expects, before it looks at what it has."""


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
async def a_star_is_one_part_and_a_hash_the_rest(h: Harness) -> None:
    """A star stands for one part of a type that has dots, and a hash at the end for all of them."""
    inbox = h.inbox()
    one, rest = [f"agent.{inbox}.*"], [f"agent.{inbox}.build.#"]
    await _subscribe(h, one)
    await _subscribe(h, rest)
    whole, part = h.message(inbox, message_type="build"), h.message(inbox, message_type="build.docs.done")
    await h.publish(whole, part)
    heard = await _hear(h, rest, 2)
    expect(heard == [whole.data, part.data], f"a hash stands for both messages and {len(heard)} were heard")
    heard = await _hear(h, one, 2)
    expect(heard == [whole.data], f"a star stands for 1 of 2 messages and {len(heard)} were heard")


@promise(Listener)
async def what_matches_twice_is_heard_once(h: Harness) -> None:
    """A message that several of the patterns match is returned once."""
    inbox = h.inbox()
    patterns = [f"agent.{inbox}.*", f"agent.{inbox}.#", "agent.*.system_alert"]
    await _subscribe(h, patterns)
    alert = h.message(inbox, message_type="system_alert")
    await h.publish(alert)
    heard = await _hear(h, patterns, 1)
    expect(heard == [alert.data], f"1 message was sent and {len(heard)} heard")


@promise(Listener)
async def everybody_who_listens_hears_it(h: Harness) -> None:
    """Listeners do not share what is said: each hears all of it."""
    patterns = [f"agent.{h.inbox()}.*"]
    other = cast(Listener, await h.another())
    await _subscribe(h, patterns)
    await other.listen(patterns, limit=1, wait=0.1)
    item = h.message(h.inboxes[-1])
    await h.publish(item)
    for listener in (h.listener, other):
        heard = await _hear(h, patterns, 1, listener=listener)
        expect(heard == [item.data], f"one of two listeners heard {len(heard)} of 1 message")


@promise(Listener)
async def of_a_list_each_hears_its_own_copy(h: Harness) -> None:
    """A message to a list is heard by who listens for one of its agents, once."""
    one, other = h.inbox(), h.inbox()
    patterns = [f"agent.{one}.*"]
    await _subscribe(h, patterns)
    item = h.message(one)
    copies = [item._replace(inbox=name, routing_key=f"agent.{one},{other}.notification") for name in (one, other)]
    await h.publish(*copies)
    heard = await _hear(h, patterns, 1)
    expect(heard == [item.data], f"1 of 2 copies is for whom it listens, and {len(heard)} were heard")


@promise(Listener)
async def what_nobody_heard_is_gone(h: Harness) -> None:
    """Who begins to listen hears nothing of what was said before."""
    inbox = h.inbox()
    await h.publish(h.message(inbox))
    expect(not await _hear(h, [f"agent.{inbox}.*"], 0), "something was heard that was said before anybody listened")


@promise(Listener)
async def what_a_listener_cannot_keep_is_refused(h: Harness) -> None:
    """A delay or a time to live that is not declared is an error for that item, and nobody hears it."""
    inbox = h.inbox()
    patterns = [f"agent.{inbox}.*"]
    await _subscribe(h, patterns)
    good = h.message(inbox)
    wishes: dict[str, Outgoing] = {"delay": h.message(inbox, delay=0.1), "ttl": h.message(inbox, ttl=60)}
    refused = {name: item for name, item in wishes.items() if not getattr(h.capabilities, name)}
    results = await h.subject.publish([*refused.values(), good])
    for name, result in zip(refused, results, strict=False):
        expect(isinstance(result, Unsupported) and name in str(result), f"{name} is not declared and was not refused")
    expect(isinstance(results[-1], Published), "a good message was refused together with others")
    heard = await _hear(h, patterns, 1)
    expect(heard == [good.data], f"1 message was accepted and {len(heard)} heard")


@promise(Listener)
async def what_is_no_pattern_is_refused(h: Harness) -> None:
    """Whoever listens for what can never match is told so, instead of waiting for it."""
    for wrong in ("", "agent", "pm-agent", "agent.pm-agent", "agent.#.notification", "agent.pm-*.notification"):
        try:
            await h.listener.listen([wrong], limit=1, wait=0)
        except InvalidMessage:
            continue
        expect(False, f"{wrong!r} is no pattern, and was listened for")


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


async def _hear(h: Harness, patterns: Sequence[str], count: int, *, listener: Listener | None = None) -> list[bytes]:
    """Return what is heard until it is *count* messages, and for a moment longer."""
    heard: list[bytes] = []
    loop = asyncio.get_running_loop()
    end = loop.time() + min(h.patience, PATIENCE)
    while len(heard) < count and loop.time() < end:
        heard += await (listener or h.listener).listen(patterns, limit=10, wait=0.1)
    return [*heard, *await (listener or h.listener).listen(patterns, limit=10, wait=0.2)]


async def _subscribe(h: Harness, patterns: list[str]) -> None:
    await h.listener.listen(patterns, limit=1, wait=0.1)
