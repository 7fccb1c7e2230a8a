"""Two transports as one: a leg that is dead, hangs, fails or falls behind never gets in the way of the other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import ConfigError, HivebusError, NotPermitted, QueueFull, Unavailable, Unknown
from hivebus_migration import dual_write
from hivebus_migration.dual_write import DualWrite

from .acting import ACTING, COPIED_TO, STAGES, in_stage
from .files_leg import contents
from .house import House, outgoing, until


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- The other leg is dead, hangs, or fails ----------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
async def test_the_sender_is_answered_while_the_other_leg_hangs(house: House, stage: str) -> None:
    await in_stage(stage)
    async with house.connected() as joined:
        await answered_before_the_copy(house, joined, stage, patience=10)


@pytest.mark.parametrize("stage", ["dualwrite", "live"])
async def test_saboteur_a_copy_that_is_waited_for_holds_the_sender_up(
    house: House, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_stage(stage)

    async def publish(self: DualWrite, batch: Any) -> Any:
        results = await original(self, batch)
        await asyncio.sleep(0)
        self._announcing.catch_up()
        for copies in self._copies.values():
            await asyncio.gather(*copies._tasks)
        return results

    original = DualWrite.publish
    monkeypatch.setattr(DualWrite, "publish", publish)
    async with house.connected() as joined:
        with pytest.raises(AssertionError, match="the sender was not answered"):
            await answered_before_the_copy(house, joined, stage, patience=0.3)


async def answered_before_the_copy(house: House, joined: DualWrite, stage: str, *, patience: float) -> None:
    """Check that a sender has its result while the other leg has not moved; let that go on in the end."""
    other = house.main if ACTING[stage] == "files" else house.legacy
    other.held = asyncio.Event()
    sending = asyncio.create_task(joined.publish([outgoing()]))
    try:
        if COPIED_TO[stage]:
            async with asyncio.timeout(10):
                await other.entered.wait()
        await asyncio.wait([sending], timeout=patience)
        assert sending.done(), "the sender was not answered while the copy was under way"
        assert not isinstance(sending.result()[0], HivebusError)
    finally:
        other.held.set()
        await sending


@pytest.mark.parametrize("stage", STAGES)
async def test_messages_go_on_with_the_other_side_dead_from_the_start(house: House, stage: str) -> None:
    await in_stage(stage)
    async with house.connected():
        pass  # so that this machine knows the stage
    other = house.main if ACTING[stage] == "files" else house.legacy
    other.away = True
    item = outgoing()
    async with house.connected() as joined:
        (result,) = await joined.publish([item])
    assert not isinstance(result, HivebusError) and result.leg == ACTING[stage]
    reasons = {"memory": "unavailable", "files": "no_bridge"}
    assert [(leg, house.outcomes(leg)) for leg in COPIED_TO[stage]] == [
        (leg, [("refused", reasons[leg])]) for leg in COPIED_TO[stage]
    ]


async def test_with_the_acting_side_dead_the_sender_is_told(house: House) -> None:
    house.legacy.away = True
    async with house.connected() as joined:
        (result,) = await joined.publish([outgoing()])
    assert isinstance(result, Unavailable)
    assert house.outcomes("files") == [("refused", "unavailable")]


async def test_with_both_sides_dead_it_does_not_connect(house: House) -> None:
    house.main.away = house.legacy.away = True
    joined = house.joined()
    with pytest.raises(Unavailable, match="neither memory nor files can be reached"):
        await joined.connect()
    await joined.close()


async def test_what_is_wrong_with_the_configuration_is_no_absence(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect() -> Any:
        raise ConfigError("no such socket name")

    monkeypatch.setattr(house.legacy, "connect", connect)
    joined = house.joined()
    with pytest.raises(ConfigError, match="no such socket name"):
        await joined.connect()
    await joined.close()


async def test_a_side_that_refuses_to_connect_counts_as_away_and_says_why(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_stage("live")

    async def connect() -> Any:
        raise NotPermitted("wrong password")

    async with house.connected():
        pass
    monkeypatch.setattr(house.main, "connect", connect)
    async with house.connected() as joined:
        (result,) = await joined.publish([outgoing()])
    assert isinstance(result, Unavailable) and "wrong password" in str(result)


async def test_a_side_that_comes_back_is_used_again(house: House) -> None:
    house.main.away = True
    async with house.connected() as joined:
        await in_stage("live")
        (result,) = await joined.publish([outgoing()])
        assert not isinstance(result, HivebusError) and result.leg == "files"
        house.main.away = False
        await until(lambda: joined._stages.of("dev").name == "live", what="the stage was read")
        (result,) = await joined.publish([outgoing()])
        assert not isinstance(result, HivebusError) and result.leg == "memory"


async def test_a_side_that_takes_for_ever_to_connect_does_not_hold_up_the_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(house.main, "connect", connect)
    monkeypatch.setattr(dual_write, "CONNECT_WITHIN", 0.05)
    async with house.connected() as joined:
        (result,) = await joined.publish([outgoing()])
        assert not isinstance(result, HivebusError) and result.leg == "files"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (QueueFull("full"), ("refused", "queue_full")),
        (Unknown("lost"), ("unknown", "unknown")),
        (Unavailable("away"), ("refused", "unavailable")),
    ],
)
async def test_a_copy_that_fails_is_written_down_and_raised_to_nobody(
    house: House, error: HivebusError, outcome: tuple[str, str]
) -> None:
    await in_stage("dualwrite")
    async with house.connected() as joined:
        house.main.failing.append(error)
        (result,) = await joined.publish([outgoing()])
    assert not isinstance(result, HivebusError)
    assert house.outcomes("memory") == [outcome]


async def test_a_transport_that_raises_what_it_must_not_harms_the_copy_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_stage("dualwrite")

    async def publish(batch: Any) -> Any:
        raise ZeroDivisionError

    async with house.connected() as joined:
        monkeypatch.setattr(house.main, "publish", publish)
        for _ in range(2):
            (result,) = await joined.publish([outgoing()])
            assert not isinstance(result, HivebusError)
    assert house.outcomes("memory") == [("unknown", "zero_division_error")] * 2


# --- The queue of the other leg ----------------------------------------------------------------------------


async def test_a_full_queue_is_a_failure_of_the_other_leg_and_of_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus_migration.copies.MOST", 2)
    await in_stage("dualwrite")
    async with house.connected() as joined:
        house.main.held = asyncio.Event()
        results = await joined.publish([outgoing() for _ in range(5)])
        assert not any(isinstance(result, HivebusError) for result in results)
        house.main.held.set()
    assert house.outcomes("memory") == [("accepted", None)] * 2 + [("refused", "queue_full")] * 3
    assert len(house.outcomes("files")) == 5


async def test_a_leg_that_never_answers_is_given_up_and_its_lane_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dual_write, "MAIN_PATIENCE", 0.05)
    await in_stage("dualwrite")
    async with house.connected() as joined:
        house.main.held = asyncio.Event()
        await joined.publish([outgoing()])
        await house.main.entered.wait()
        await until(lambda: not joined._copies["memory"]._lanes, what="the leg was given up")
        house.main.held = None
        await joined.publish([outgoing()])
    assert house.outcomes("memory") == [("accepted", None), ("unknown", "timeout")]


async def test_close_waits_for_copies_and_no_longer_than_it_may(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual_write, "CLOSE_WITHIN", 0.05)
    monkeypatch.setattr("hivebus_migration.copies.BATCH", 1)
    await in_stage("dualwrite")
    async with house.connected() as joined:
        house.main.held = asyncio.Event()
        await joined.publish([outgoing(), outgoing()])
        await house.main.entered.wait()
    # One was handed over and may have arrived, the other was not.
    assert house.outcomes("memory") == [("refused", "closed"), ("unknown", "closed")]


async def test_copies_to_one_agent_keep_their_order(house: House) -> None:
    await in_stage("live")
    async with house.connected() as joined:
        for start in range(0, 60, 3):
            await joined.publish([outgoing(content=number) for number in range(start, start + 3)])
    assert contents(house.folder, "dev~shadow") == list(range(60))
