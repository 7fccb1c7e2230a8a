"""Stamps: ids and times of a sender of many messages."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import pytest

from hivebus import stamps
from hivebus.bus import Bus
from hivebus.envelope import compose, encode
from hivebus.message import Message
from hivebus.stamps import Stamps


def test_ids_are_random_uuids_and_all_different() -> None:
    made = [each.message_id() for each in (Stamps(), Stamps()) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert {(UUID(each).version, UUID(each).variant) for each in made} == {(4, "specified in RFC 4122")}


def test_ids_differ_when_all_heads_are_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "HEAD", 2)
    monkeypatch.setattr(stamps, "EVERY", 16**2)
    source = Stamps()
    made = [source.message_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    # 255 with the first tail, since a tail's own head comes first from the second one on.
    assert len({each[8:] for each in made}) == 4
    monkeypatch.setattr(stamps, "STEP", 2)
    source = Stamps()
    evens = [source.message_id() for _ in range(1000)]
    assert len({each[8:] for each in evens}) == 8, "an even step meets half of the heads only"


def test_the_heads_of_ids_tell_them_apart() -> None:
    """People give ids by their first digits."""
    source = Stamps()
    heads = sorted(int(source.message_id()[:8], 16) for _ in range(1000))
    assert min(b - a for a, b in pairwise(heads)) > 2**32 // 1000 // 4


@pytest.mark.parametrize("nanoseconds", [0, 1_752_669_300_000_000_000, 1_752_669_300_007_000_000, 999_999_999])
def test_a_time_is_written_as_the_model_writes_it(monkeypatch: pytest.MonkeyPatch, nanoseconds: int) -> None:
    monkeypatch.setattr(stamps, "time_ns", lambda: nanoseconds)
    moment = Stamps().now()
    assert datetime.fromisoformat(moment).timestamp() == nanoseconds // 1_000_000 / 1000
    data = encode(compose(from_agent="pm", to_agent="dev", content="x")._replace(timestamp=moment))
    assert Message.from_json(data).to_json() == data


def test_the_clock_goes_on() -> None:
    clock = Stamps()
    assert abs(datetime.fromisoformat(clock.now()) - datetime.now(UTC)).total_seconds() < 60
    first = clock.now()
    while clock.now() == first:
        """Wait for the next millisecond."""
    assert clock.now() > first


def test_processes_forked_from_one_that_made_a_bus_give_different_ids() -> None:
    """With the same ids, all but one of their messages would be taken for duplicates."""
    bus = Bus("memory://", agent="pm")

    async def send() -> str:
        async with bus:
            return (await bus.send("dev", "x")).message_id

    ids = set()
    for _ in range(2):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, asyncio.run(send()).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            ids.add(answer.read())
        os.waitpid(child, 0)
    assert len(ids) == 2 and "" not in ids
