"""Two transports as one: exactly one leg acts, its answer is the sender's, and a copy goes to the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hivebus.errors import HivebusError, QueueFull, Unavailable, Unknown, Unsupported
from hivebus.transport import Inbox
from hivebus_migration import announcing
from hivebus_migration.dual_write import DualWrite

from .acting import ACTING, COPIED_TO, STAGES, in_stage
from .files_leg import ids
from .house import House, outgoing, server, until, waiting


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- Which leg acts, and where the copy goes ---------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
async def test_exactly_one_leg_acts_and_the_result_is_its_own(house: House, stage: str) -> None:
    await in_stage(stage)
    item = outgoing()
    async with house.connected() as joined:
        (result,) = await joined.publish([item])
    assert not isinstance(result, HivebusError)
    assert (result.leg, result.others, result.state) == (ACTING[stage], COPIED_TO[stage], "stored")
    handled = {"files": ids(house.folder, "dev"), "memory": await waiting(await server(), "dev")}
    assert handled.pop(ACTING[stage]) == [item.message_id]
    assert list(handled.values()) == [[]]


@pytest.mark.parametrize("stage", STAGES)
async def test_the_copy_goes_to_the_shadow_inbox_of_the_other_leg(house: House, stage: str) -> None:
    await in_stage(stage)
    item = outgoing()
    async with house.connected() as joined:
        await joined.publish([item])
    copies = {"files": ids(house.folder, "dev~shadow"), "memory": await waiting(await server(), "dev~shadow")}
    assert copies == {leg: [item.message_id] if leg in COPIED_TO[stage] else [] for leg in copies}


async def test_what_goes_to_a_pool_goes_by_the_bus_alone(house: House) -> None:
    await in_stage("dualwrite", "*")
    item = outgoing("@architects")
    async with house.connected() as joined:
        (result,) = await joined.publish([item])
        reader = await joined.open(Inbox("@architects"), consumer="one", lease=60)
        assert list(await reader.glance(limit=5, wait=0)) == [0, 0, 1, 0, 0, 0]
        await reader.close()
    assert not isinstance(result, HivebusError)
    assert (result.leg, result.others) == ("memory", ())
    assert await waiting(await server(), "@architects") == [item.message_id]


async def test_an_agent_without_a_stage_of_its_own_has_that_of_everyone(house: House) -> None:
    await in_stage("live", "*")
    await in_stage("dualwrite", "ops")
    async with house.connected() as joined:
        results = await joined.publish([outgoing("dev"), outgoing("ops"), outgoing("qa")])
    assert [result.leg for result in results] == ["memory", "files", "memory"]  # type: ignore[union-attr]


async def test_results_of_a_batch_over_both_legs_come_in_its_order(house: House) -> None:
    await in_stage("live", "ops")
    items = [outgoing(agent) for agent in ("dev", "ops", "dev", "ops")]
    async with house.connected() as joined:
        house.legacy.failing.append(QueueFull("full"))
        results = await joined.publish(items)
    assert [type(result).__name__ for result in results] == ["QueueFull", "Published", "QueueFull", "Published"]
    assert await waiting(await server(), "ops") == [items[1].message_id, items[3].message_id]


@pytest.mark.parametrize("stage", STAGES)
async def test_what_the_acting_leg_refuses_is_the_senders_error_and_the_copy_travels_all_the_same(
    house: House, stage: str
) -> None:
    await in_stage(stage)
    item = outgoing()
    async with house.connected() as joined:
        acting = house.legacy if ACTING[stage] == "files" else house.main
        acting.failing.append(QueueFull("full"))
        (result,) = await joined.publish([item])
    assert isinstance(result, QueueFull)
    assert [(each.outcome, each.reason) for each in house.attempts(ACTING[stage])] == [("refused", "queue_full")]
    for leg in COPIED_TO[stage]:
        assert house.outcomes(leg) == [("accepted", None)]


async def test_an_option_that_the_acting_leg_cannot_honour_is_its_error(house: House) -> None:
    await in_stage("live", "ops")
    async with house.connected() as joined:
        refused, scheduled = await joined.publish([outgoing("dev", delay=5), outgoing("ops", delay=5)])
    assert isinstance(refused, Unsupported)
    assert not isinstance(scheduled, HivebusError) and scheduled.state == "scheduled"
    assert house.outcomes("files") == [("refused", "unsupported")] * 2


@pytest.mark.parametrize(
    ("legs", "acting", "others"),
    [
        (("files",), "files", ()),
        (("memory",), "memory", ()),
        (("memory", "files"), "memory", ("files",)),
        (("files", "memory"), "files", ("memory",)),
    ],
)
async def test_legs_that_were_chosen_for_a_message_win_over_the_stage(
    house: House, legs: tuple[str, ...], acting: str, others: tuple[str, ...]
) -> None:
    await in_stage("live")
    async with house.connected() as joined:
        assert joined.legs == ("memory", "files")
        (result,) = await joined.publish([outgoing(legs=legs)])
    assert not isinstance(result, HivebusError) and (result.leg, result.others) == (acting, others)
    (intent,) = house.intents()
    assert (intent.acting, set(intent.legs)) == (acting, {acting, *others})


# --- Sent again --------------------------------------------------------------------------------------------


async def sent_again_after_a_promotion(house: House) -> list[str]:
    """Send a message whose outcome is unknown, promote its agent, send it again; return the legs that acted."""
    item = outgoing()
    async with house.connected() as joined:
        house.legacy.failing.append(Unknown("lost"))
        joined.lane(item)
        (first,) = await joined.publish([item])
        assert isinstance(first, Unknown)
        await in_stage("live")
        await until(lambda: joined._stages.of("dev").name == "live", what="the stage was read")
        joined.lane(item)
        (second,) = await joined.publish([item])
        assert not isinstance(second, HivebusError)
    return [leg for leg, road in (("files", house.legacy), ("memory", house.main)) if "dev" in road.inboxes_written]


async def test_a_message_that_is_sent_again_stays_on_the_leg_that_it_began_on(house: House) -> None:
    await in_stage("dualwrite")
    assert await sent_again_after_a_promotion(house) == ["files"]


async def test_saboteur_without_its_memory_a_message_could_act_on_both_legs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus_migration.plans.REMEMBERED", 0)
    await in_stage("dualwrite")
    assert await sent_again_after_a_promotion(house) == ["files", "memory"]


async def sent_again_while_it_is_under_way(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Promote its agent while a message waits for its answer, and send it again; return where it was written."""
    monkeypatch.setattr(announcing, "EVERY", 3600.0)
    item = outgoing()
    async with house.connected() as joined:
        house.legacy.held = asyncio.Event()
        first = asyncio.create_task(joined.publish([item]))
        await house.legacy.entered.wait()
        await in_stage("live")
        await until(lambda: joined._stages.of("dev").name == "live", what="the stage was read")
        again = asyncio.create_task(joined.publish([item]))
        await asyncio.sleep(0)
        house.legacy.held.set()
        await asyncio.gather(first, again)
    return [leg for leg, road in (("files", house.legacy), ("memory", house.main)) if "dev" in road.inboxes_written]


async def test_what_is_under_way_while_its_agent_is_promoted_stays_on_its_leg(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_stage("dualwrite")
    assert await sent_again_while_it_is_under_way(house, monkeypatch) == ["files"]


async def test_saboteur_a_promotion_that_does_not_note_what_is_under_way_lets_it_act_on_both_legs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_stage("dualwrite")
    monkeypatch.setattr(DualWrite, "_stages_changed", lambda self: self._plans.stages_changed())
    assert await sent_again_while_it_is_under_way(house, monkeypatch) == ["files", "memory"]


async def test_a_message_that_is_sent_again_has_one_intent_and_one_copy(house: House) -> None:
    await in_stage("dualwrite")
    item = outgoing()
    async with house.connected() as joined:
        house.legacy.failing += [Unavailable("away"), Unknown("lost")]
        for _ in range(3):
            await joined.publish([item])
    assert [intent.message_id for intent in house.intents()] == [item.message_id]
    assert house.main.inboxes_written == ["dev~shadow"]
    assert house.outcomes("files") == [("accepted", None), ("refused", "unavailable"), ("unknown", "unknown")]


async def test_one_message_to_two_agents_travels_by_two_courses(house: House) -> None:
    await in_stage("live", "ops")
    item = outgoing()
    async with house.connected() as joined:
        await joined.publish([item, item._replace(inbox="ops")])
    assert sorted((intent.agent, intent.acting) for intent in house.intents()) == [("dev", "files"), ("ops", "memory")]


async def test_what_is_remembered_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivebus_migration.plans.REMEMBERED", 3)
    async with house.connected() as joined:
        for _ in range(4):
            await joined.publish([outgoing()])
            joined._stages_changed()
        await joined.publish([outgoing()])
        joined._announcing.catch_up()
        assert (len(joined._plans._before), len(joined._plans._since)) == (2, 1)
