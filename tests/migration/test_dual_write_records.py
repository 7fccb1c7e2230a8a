"""Two transports as one: what the ledger is told of every message, and that it keeps none back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import HivebusError
from hivebus_migration.facts import Witness, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import fingerprint

from .acting import ACTING, COPIED_TO, STAGES, in_stage
from .files_leg import ids
from .house import House, outgoing, server, until, waiting


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("stage", STAGES)
async def test_an_intent_says_what_travels_where(house: House, stage: str) -> None:
    await in_stage(stage)
    items = [outgoing(priority=4), outgoing(priority=4)]
    async with house.connected() as joined:
        await joined.publish(items)
    first, second = sorted(house.intents(), key=lambda intent: intent.number)
    assert (first.message_id, first.agent, first.sender, first.message_type) == (
        items[0].message_id,
        "dev",
        "pm",
        "information_share",
    )
    assert (first.level, first.size, first.stage, first.acting) == (4, len(items[0].data), stage, ACTING[stage])
    assert first.epoch == (0 if stage == "off" else 1)
    assert first.legs == dict.fromkeys((ACTING[stage], *COPIED_TO[stage]), fingerprint(items[0].data))
    assert (first.session, first.number, second.number) == (second.session, 1, 2)


async def test_an_intent_has_the_time_from_before_either_leg_is_given_the_message(house: House) -> None:
    await in_stage("dualwrite")
    given: list[int] = []

    def timed(publish: Callable[..., Any]) -> Callable[..., Any]:
        async def publish_and_tell(batch: Any) -> Any:
            given.append(now().mono)
            return await publish(batch)

        return publish_and_tell

    async with house.connected() as joined:
        for road in (house.main, house.legacy):
            road.publish = timed(road.publish)  # type: ignore[method-assign]
        await joined.publish([outgoing()])
    assert len(given) == 2 and house.intents()[0].at.mono < min(given)


async def test_nothing_is_noted_about_a_message_before_its_intent(house: House) -> None:
    await in_stage("dualwrite")
    order: list[str] = []
    async with house.connected() as joined:
        joined._ledger.note = lambda *facts: order.extend(type(fact).__name__ for fact in facts)  # type: ignore[method-assign]
        await joined.publish([outgoing()])
        await until(lambda: len(order) == 3, what="both legs answered")
    assert order == ["Intent", "Attempt", "Attempt"]


async def test_a_body_that_a_codec_hid_is_sent_all_the_same(house: House) -> None:
    await in_stage("live")
    async with house.connected() as joined:
        (result,) = await joined.publish([outgoing(data=b"\x00sealed")])
    assert not isinstance(result, HivebusError)
    (intent,) = house.intents()
    assert (intent.sender, intent.message_type) == ("", "information_share")


async def test_nothing_about_the_ledger_keeps_a_message_back(house: House) -> None:
    await in_stage("dualwrite")
    house.ledger.mkdir()  # no file can be opened there
    item = outgoing()
    async with house.connected() as joined:
        (result,) = await joined.publish([item])
    assert not isinstance(result, HivebusError)
    assert ids(house.folder, "dev") == [item.message_id] == await waiting(await server(), "dev~shadow")


async def test_a_ledger_that_is_locked_keeps_no_message_back_and_what_is_missing_is_told(house: House) -> None:
    await in_stage("dualwrite")
    with Ledger(house.ledger) as ledger:
        ledger.note(Witness("dev", "memory", "taken", now()))
    with closing(sqlite3.connect(house.ledger, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with house.connected() as joined:
            results = await joined.publish([outgoing() for _ in range(3)])
            assert not any(isinstance(result, HivebusError) for result in results)
        other.execute("ROLLBACK")
    records = house.records()
    assert records.intents == [] and sum(gap.facts for gap in records.gaps) == 3 * (1 + 2)
