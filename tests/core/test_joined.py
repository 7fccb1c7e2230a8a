"""Several inboxes read as one: by level, with one suspect at a time, and none in the way of another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hivebus import envelope, joined
from hivebus.errors import Unavailable, Unsupported
from hivebus.joined import JoinedReader
from hivebus.transport import (
    Ack,
    DeadLetter,
    Delivery,
    Extend,
    Inbox,
    Outgoing,
    Reader,
    Retry,
    Settled,
    Settlement,
    Start,
)

from .flaky import FlakyReader, FlakyTransport

LONG = 60.0


class Glancing(FlakyReader):
    """Notes how often it was asked; also a glance may be out of reach, and a settlement."""

    looks = 0
    deaf = 0

    async def glance(self, *, limit: int, wait: float) -> Sequence[int]:
        self.looks += 1
        self._fail()
        return await super().glance(limit=limit, wait=wait)

    async def settle(self, batch: Sequence[Settlement]) -> Sequence[Settled]:
        if self.deaf:
            self.deaf -= 1
            raise Unavailable("the server is away")
        return await super().settle(batch)


class Desk:
    """An inbox and two pools, read as one."""

    def __init__(self, transport: FlakyTransport, readers: dict[str, Reader], *, lease: float) -> None:
        self.transport = transport
        self.readers = readers
        self.joined = JoinedReader(readers, lease=lease)

    async def put(self, inbox: str, message_id: str, *, priority: int = 2) -> None:
        message_id = message_id.replace("@", "")
        made = envelope.compose(from_agent="tester", to_agent=inbox, content="x", message_id=message_id)
        await self.transport.publish([Outgoing(inbox, message_id, "k", priority, 0, None, envelope.encode(made))])

    async def take(self, limit: int = 10, *, wait: float = 5.0) -> list[Delivery]:
        return list(await self.joined.receive(limit=limit, start=limit, wait=wait))

    def ids(self, deliveries: Sequence[Delivery]) -> list[str]:
        return [each.token.partition("|")[2].partition("#")[0] for each in deliveries]

    async def ack(self, *deliveries: Delivery) -> list[str]:
        return list(await self.joined.settle([Ack(each.token) for each in deliveries]))


async def desk(*, lease: float = LONG, names: Sequence[str] = ("dev", "@a", "@b"), consumer: str = "me") -> Desk:
    transport = FlakyTransport(reads=Glancing)
    await transport.connect()
    readers = {name: await transport.open(Inbox(name), consumer=consumer, lease=lease) for name in names}
    return Desk(transport, readers, lease=lease)


async def test_the_highest_level_comes_first_whichever_inbox_it_is_in() -> None:
    here = await desk()
    for number, (inbox, level) in enumerate([("dev", 1), ("@a", 5), ("@b", 3), ("dev", 4), ("@a", 2)]):
        await here.put(inbox, f"{inbox}-{level}-{number}", priority=level)
    one = await here.take(1)
    two = await here.take(2)
    rest = await here.take()
    assert here.ids([*one, *two, *rest]) == ["a-5-1", "dev-4-3", "b-3-2", "a-2-4", "dev-1-0"]


async def test_inboxes_with_the_same_level_take_turns() -> None:
    here = await desk()
    for inbox in ("dev", "@a", "@b"):
        for number in range(20):
            await here.put(inbox, f"{inbox}:{number}")
    singles = [(await here.take(1))[0] for _ in range(6)]
    assert sorted(here.joined.inbox_of(each.token) for each in singles) == ["@a", "@a", "@b", "@b", "dev", "dev"]
    many = await here.take(30)
    shares = [sum(here.joined.inbox_of(each.token) == name for each in many) for name in ("dev", "@a", "@b")]
    assert shares == [10, 10, 10]


async def test_an_inbox_where_nothing_waits_is_left_asleep_and_wakes_the_reader() -> None:
    here = await desk()
    waiting = asyncio.create_task(here.take())
    await asyncio.sleep(0.05)
    looks = here.readers["@b"].looks
    await here.put("@a", "first")
    assert here.ids(await waiting) == ["first"]
    for number in range(10):
        await here.put("dev", f"more-{number}")
        assert await here.take(1)
    assert here.readers["@b"].looks == looks
    await here.put("@b", "last")
    assert here.ids(await here.take()) == ["last"]


async def test_nothing_more_is_taken_than_there_is_room_for() -> None:
    here = await desk()
    for inbox in ("dev", "@a", "@b"):
        for number in range(5):
            await here.put(inbox, f"{inbox}:{number}")
    assert len(await here.take(7)) == 7
    counts = await here.transport.counts(["dev", "@a", "@b"])
    assert sum(each.in_flight for each in counts) == 7


async def test_each_settlement_goes_to_where_its_message_came_from() -> None:
    here = await desk()
    for inbox in ("dev", "@a", "@b"):
        await here.put(inbox, f"of-{inbox}")
    own, a, b = sorted(await here.take(), key=lambda each: each.token)
    answers = await here.joined.settle([DeadLetter(a.token, "bad"), Ack(own.token), Retry(b.token, 0), Ack("0|none#1")])
    assert list(answers) == ["done", "done", "done", "gone"]
    assert [each.reason for each in await here.transport.dead("@a", limit=5)] == ["bad"]
    again = await here.take()
    assert (here.ids(again), again[0].failures) == (["of-b"], 1)


async def test_the_same_id_in_two_inboxes_is_two_messages() -> None:
    here = await desk()
    await here.put("dev", "same")
    await here.put("@a", "same")
    taken = await here.take()
    assert len({each.token for each in taken}) == 2
    assert await here.ack(*taken) == ["done", "done"]


async def test_extending_renews_the_lease_in_every_inbox() -> None:
    here = await desk(lease=0.2)
    for inbox in ("dev", "@a"):
        await here.put(inbox, inbox)
    taken = await here.take()
    rival = await desk(consumer="rival")
    for _ in range(8):
        await asyncio.sleep(0.05)
        assert set(await here.joined.settle([Extend(each.token) for each in taken])) == {"done"}
        assert await rival.take(wait=0) == []
    assert await here.ack(*taken) == ["done", "done"]


async def test_an_inbox_that_cannot_be_read_does_not_block_the_others(caplog: pytest.LogCaptureFixture) -> None:
    here = await desk()
    here.readers["@a"].away = 3
    await here.put("dev", "own")
    await here.put("@a", "later")
    assert here.ids(await here.take()) == ["own"]
    assert here.ids(await here.take()) == ["later"]
    assert {record.inbox for record in caplog.records} == {"@a"}


async def test_when_none_can_be_read_whoever_reads_is_told() -> None:
    here = await desk()
    for reader in here.readers.values():
        reader.away = 1
    with pytest.raises(Unavailable):
        await here.take()
    await here.put("dev", "own")
    assert here.ids(await here.take()) == ["own"]


async def test_when_settling_fails_in_one_inbox_the_next_try_knows_the_answers_of_the_others() -> None:
    here = await desk()
    await here.put("dev", "own")
    await here.put("@a", "shared")
    batch = [Ack(each.token) for each in await here.take()]
    here.readers["@a"].deaf = 1
    with pytest.raises(Unavailable):
        await here.joined.settle(batch)
    assert await here.joined.settle(batch) == ["done", "done"]
    assert await here.joined.settle(list(batch)) == ["gone", "gone"]


async def test_without_that_memory_what_was_done_would_look_as_if_somebody_else_had_done_it() -> None:
    """Saboteur: a reader that forgets the answers."""
    here = await desk()
    await here.put("dev", "own")
    await here.put("@a", "shared")
    batch = [Ack(each.token) for each in await here.take()]
    here.readers["@a"].deaf = 1
    with pytest.raises(Unavailable):
        await here.joined.settle(batch)
    here.joined._unfinished = None
    assert sorted(await here.joined.settle(batch)) == ["done", "gone"]


async def suspect_in(here: Desk, inbox: str, message_id: str = "suspect") -> None:
    """Let somebody die with a message."""
    await here.put(inbox, message_id, priority=1)
    dying = await here.transport.open(Inbox(inbox), consumer="dying", lease=0.02)
    assert await dying.receive(limit=1, start=1, wait=5)
    await asyncio.sleep(0.03)


async def test_a_suspect_waits_until_nothing_runs_that_came_from_another_inbox() -> None:
    here = await desk()
    await here.put("dev", "runs")
    running = await here.take()
    await suspect_in(here, "@a")
    await here.put("dev", "next", priority=5)
    assert await here.take(wait=0.1) == []
    waiting = asyncio.create_task(here.take())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await here.ack(*running)
    [alone] = await waiting
    assert (here.ids([alone]), alone.alone) == (["suspect"], True)
    await here.ack(alone)
    assert here.ids(await here.take()) == ["next"]


async def test_one_that_turns_up_after_the_look_waits_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    here = await desk()
    await here.put("dev", "runs")
    running = await here.take()
    await suspect_in(here, "@a")
    look = here.joined._look

    async def too_early(limit: int) -> list:
        monkeypatch.setattr(here.joined, "_look", look)
        part = here.joined._parts[1]
        return [(part, [0, 0, 0, 0, 0, 1])]

    monkeypatch.setattr(here.joined, "_look", too_early)
    assert await here.take(wait=0.05) == []
    await here.ack(*running)
    [alone] = await here.take()
    assert (here.ids([alone]), alone.alone) == (["suspect"], True)


async def test_what_is_lost_to_somebody_else_keeps_no_suspect_waiting() -> None:
    here = await desk(lease=0.05)
    await here.put("dev", "slow")
    [slow] = await here.take()
    await asyncio.sleep(0.1)
    rival = await desk(consumer="rival")
    assert (await rival.take())[0].alone
    assert await here.joined.settle([Extend(slow.token)]) == ["stale"]
    await suspect_in(here, "@a")
    assert here.ids(await here.take()) == ["suspect"]


async def test_what_was_only_fetched_counts_as_running_once_it_is_started() -> None:
    here = await desk()
    await here.put("dev", "fetched")
    [fetched] = await here.joined.receive(limit=1, start=0, wait=5)
    assert await here.joined.settle([Start(fetched.token)]) == ["done"]
    await suspect_in(here, "@a")
    assert await here.take(wait=0.05) == []
    await here.ack(fetched)
    assert here.ids(await here.take()) == ["suspect"]


async def test_a_waiting_reader_can_be_woken_and_goes_on_afterwards() -> None:
    here = await desk()
    waiting = asyncio.create_task(here.take(wait=LONG))
    await asyncio.sleep(0.02)
    here.joined.wake()
    async with asyncio.timeout(5):
        assert await waiting == []
    await here.put("@b", "later")
    assert here.ids(await here.take()) == ["later"]


async def test_closing_hands_back_everywhere_and_leaves_no_task_behind() -> None:
    here = await desk()
    await here.put("dev", "own")
    await here.put("@a", "shared")
    assert len(await here.joined.receive(limit=5, start=0, wait=5)) == 2
    assert await here.take(wait=0) == []
    await here.joined.close()
    await here.joined.close()
    assert await here.take() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    rival = await desk(consumer="rival")
    assert sorted(rival.ids(await rival.take())) == ["own", "shared"]


async def test_what_expired_between_look_and_take_does_not_end_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    here = await desk()
    part = here.joined._parts[0]
    look = here.joined._look

    async def sees_a_ghost(limit: int) -> list:
        monkeypatch.setattr(here.joined, "_look", look)
        return [(part, [0, 0, 9, 0, 0, 0])]

    monkeypatch.setattr(here.joined, "_look", sees_a_ghost)
    waiting = asyncio.create_task(here.take())
    await asyncio.sleep(0.05)
    await here.put("dev", "real")
    assert here.ids(await waiting) == ["real"]


async def test_a_glance_that_is_old_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "NEW", -1.0)
    here = await desk()
    assert await here.take(wait=0.02) == []
    await here.put("dev", "one")
    assert here.ids(await here.take()) == ["one"]


async def test_a_reader_that_cannot_glance_says_so() -> None:
    here = await desk()
    with pytest.raises(Unsupported, match="lacks the capability pools"):
        await Reader.glance(here.joined, limit=1, wait=0)
