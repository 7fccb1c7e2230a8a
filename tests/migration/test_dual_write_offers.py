"""Two transports as one: what it claims, and the questions that it passes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivebus.demands import refusal
from hivebus.errors import ConfigError, Unavailable
from hivebus.opening import Opened
from hivebus.plugins import Plugins
from hivebus.quota import Quotas, quota_of
from hivebus.tidying import Tidying
from hivebus.transport import (
    ABSENT,
    DeadLetters,
    Directory,
    Endpoint,
    Inbox,
    Inspectable,
    Listener,
    Notifying,
    Published,
    Publisher,
    Replayable,
    Schedules,
    Transport,
)
from hivebus_migration.dual_write import DualWrite, join

from .acting import in_stage
from .files_leg import FilesTransport
from .house import House, outgoing, server


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


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


KINDS = (Transport, Inspectable, DeadLetters, Schedules, Directory, Replayable, Listener, Notifying)


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
    listener = joined.listener()
    await listener.connect()
    assert await listener.listen(["agent.dev.#"], limit=1, wait=0) == []
    await listener.close()
    await joined.close()


@pytest.mark.parametrize("away", [False, True])
async def test_no_message_is_refused_for_what_the_transport_that_is_left_cannot_keep(house: House, away: bool) -> None:
    house.main.away = away
    joined = house.joined()
    opened = Opened(
        transport=joined,
        capabilities=await joined.connect(),
        plugins=Plugins(),
        url="dualwrite://",
        leg="a",
        limit=1,
        max_hops=32,
        quota=None,
    )
    assert refusal(opened) is None, "an ack is the business of the stage, and no capability says it"
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


async def test_an_answer_that_somebody_waits_for_never_goes_to_a_window(house: House) -> None:
    joined = house.joined()
    await joined.connect()
    assert isinstance(joined, Transport)
    reader = await joined.open(Inbox("pm~1f"), consumer="one", lease=60)
    (published,) = await joined.publish([outgoing("pm~1f")])
    assert isinstance(published, Published)
    assert (published.leg, published.others) == ("memory", ())
    (delivery,) = await reader.receive(limit=1, start=1, wait=5)
    assert delivery.attempt == 1
    await reader.close()
    await joined.close()


async def test_a_quota_and_the_clearing_away_are_those_of_the_main_transport(house: House) -> None:
    joined = house.joined()
    await joined.connect()
    assert isinstance(joined, Quotas) and isinstance(joined, Tidying)
    assert [(await joined.spend("pm", 2, quota_of("1/m"))).granted for _ in range(2)] == [1, 0]
    assert await joined.clear_away() == 0
    await joined.close()
