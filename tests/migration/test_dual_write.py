"""Two transports as one: exactly one leg acts, its answer is the sender's, and the other never gets in the way."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import ConfigError, HivebusError, NotPermitted, QueueFull, Unavailable, Unknown, Unsupported
from hivebus.transport import (
    ABSENT,
    DeadLetters,
    Directory,
    Endpoint,
    Inspectable,
    Listener,
    Publisher,
    Replayable,
    Schedules,
    Transport,
)
from hivebus_migration import dual_write
from hivebus_migration.dual_write import DualWrite, join
from hivebus_migration.facts import Witness, now
from hivebus_migration.ledger import Ledger
from hivebus_migration.leg import fingerprint

from .files_leg import FilesTransport, contents, ids
from .house import House, outgoing, server, set_stage, until, waiting

STAGES = ["off", "dualwrite", "live"]
ACTING = {"off": "files", "dualwrite": "files", "live": "memory"}
COPIED_TO = {"off": (), "dualwrite": ("memory",), "live": ("files",)}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def in_stage(stage: str, agent: str = "dev") -> None:
    if stage != "off":
        await set_stage(await server(), agent, stage)


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

    async def act(self: DualWrite, leg: Any, batch: Any) -> Any:
        results = await original(self, leg, batch)
        self._catch_up()
        for copies in self._copies.values():
            await asyncio.gather(*copies._tasks)
        return results

    original = DualWrite._act
    monkeypatch.setattr(DualWrite, "_act", act)
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


async def test_one_message_to_two_agents_is_two_plans(house: House) -> None:
    await in_stage("live", "ops")
    item = outgoing()
    async with house.connected() as joined:
        await joined.publish([item, item._replace(inbox="ops")])
    assert sorted((intent.agent, intent.acting) for intent in house.intents()) == [("dev", "files"), ("ops", "memory")]


async def test_what_is_remembered_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivebus_migration.plans.REMEMBERED", 3)
    async with house.connected() as joined:
        for _ in range(10):
            await joined.publish([outgoing()])
        assert len(joined._plans._plans) == 3


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


# --- What is written down ----------------------------------------------------------------------------------


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


# --- What it claims and offers -----------------------------------------------------------------------------


async def test_it_claims_what_the_main_transport_can_do_but_for_a_reply_in_an_ack(house: House) -> None:
    alone = await (await server()).connect()
    joined = house.joined()
    assert await joined.connect() == replace(alone, atomic_reply=ABSENT)
    await joined.close()


async def test_while_the_main_transport_is_away_nothing_of_it_is_claimed(house: House) -> None:
    house.main.away = True
    joined = house.joined()
    capabilities = await joined.connect()
    await joined.close()
    assert not capabilities.redelivery and not capabilities.directory


KINDS = (Transport, Inspectable, DeadLetters, Schedules, Directory, Replayable, Listener)


def test_it_is_what_the_main_transport_is(house: House) -> None:
    joined = house.joined()
    assert isinstance(joined, DualWrite)
    assert [isinstance(joined, kind) for kind in KINDS] == [isinstance(house.main, kind) for kind in KINDS]


def test_a_smaller_main_transport_is_offered_as_what_it_is(tmp_path: Path) -> None:
    class Noticeboard(FilesTransport, Directory):
        async def read(self, kind: str) -> Any: ...

        async def write(self, *args: Any, **options: Any) -> int:
            return 1

    board = Noticeboard(Endpoint(url=f"files://{tmp_path}"))
    joined = join(Endpoint(url="dualwrite://", legs={"a": board, "b": board}, ledger=str(tmp_path / "ledger.db")))
    assert [kind for kind in KINDS if isinstance(joined, kind)] == [Directory]


async def test_every_question_is_passed_on(house: House) -> None:
    await in_stage("live")
    joined: Any = house.joined()
    await joined.connect()
    other, item, later = await server(), outgoing(), outgoing(delay=60)
    await joined.publish([item, later])
    assert await joined.inboxes() == await other.inboxes() == ["dev"]
    assert [(each.waiting, each.scheduled) for each in await joined.counts(["dev"])] == [(1, 1)]
    assert [place.message_id for place in await joined.peek("dev", limit=9)] == [item.message_id]
    assert [place.state for place in await joined.locate([later.message_id], ["dev"])] == ["scheduled"]
    assert await joined.cancel("dev", [later.message_id]) == [True]
    assert await joined.dead("dev", limit=9) == []
    assert await joined.requeue("dev", ["nothing"]) == await joined.purge("dev", ["nothing"]) == [False]
    version = await joined.write("agents", "dev", {"host": "here"}, expect=0)
    assert (await joined.read("agents"))["dev"].version == version
    await joined.close()


async def test_while_the_main_transport_is_away_a_question_is_unavailable(house: House) -> None:
    house.main.away = True
    async with house.connected() as joined:
        for question in (joined.inboxes(), joined.read("agents")):  # type: ignore[attr-defined]
            with pytest.raises(Unavailable, match="the memory leg is away: the server is away"):
                await question


@pytest.mark.parametrize(
    ("legs", "problem"),
    [({}, "no URL of its own"), ({"a": FilesTransport, "b": FilesTransport}, "keeps no directory")],
)
def test_what_cannot_be_joined_is_a_wrong_setting(
    tmp_path: Path, legs: dict[str, type[Publisher]], problem: str
) -> None:
    made = {name: kind(Endpoint(url=f"files://{tmp_path}")) for name, kind in legs.items()}  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=problem):
        join(Endpoint(url="dualwrite://", legs=made, ledger=str(tmp_path / "ledger.db")))
