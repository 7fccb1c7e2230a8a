"""A server that was away, or stood still, for longer than a lease: nothing is taken from its living consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from hivebus.transport import Ack, Delivery

from .own_server import DURABLE, OwnServer
from .room import INBOX, Room, outgoing, publish, settle, take

LEASE = 1.0
AWAY = 1.5


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest, make_server: Callable[..., OwnServer]) -> OwnServer:
    """A server that remembers, of each kind in turn."""
    return make_server(*DURABLE, kind=request.param)


@pytest.fixture
async def room(server: OwnServer) -> AsyncIterator[Room]:
    """A room on it."""
    with server.client() as client:
        made = Room(server.url, client)
        yield made
        await made.close()


async def outage(room: Room, server: OwnServer) -> tuple[str, list[Delivery]]:
    """Restart the server under a consumer that works; return what its ack is answered, and what another one got."""
    transport = await room.transport()
    worker = await room.reader(transport, consumer="worker", lease=LEASE)
    await publish(transport, outgoing("m-1"))
    (held,) = await worker.receive(limit=1, start=1, wait=5)
    server.kill()
    await asyncio.sleep(AWAY)
    server.start()
    other = await room.reader(await room.transport(), consumer="other", lease=60)
    stolen = await other.receive(limit=1, start=1, wait=0)
    return await settle(worker, Ack(held.token)), list(stolen)


async def test_consumers_have_a_whole_lease_to_come_back_after_a_restart(room: Room, server: OwnServer) -> None:
    answer, stolen = await outage(room, server)
    assert (answer, stolen) == ("done", [])


async def test_saboteur_without_that_lease_the_work_of_a_living_consumer_is_taken_away(
    room: Room, server: OwnServer, change_library: Callable[..., None]
) -> None:
    change_library(("if ends <= now then return false end", "if true then return false end"))
    answer, stolen = await outage(room, server)
    assert (answer, len(stolen)) == ("stale", 1)


async def test_a_consumer_that_died_with_the_server_is_given_up_a_lease_after_its_return(
    room: Room, server: OwnServer
) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    await (await room.reader(transport, consumer="dead", lease=LEASE)).receive(limit=1, start=1, wait=5)
    server.kill()
    server.start()
    other = await room.reader(await room.transport(), consumer="other", lease=60)
    # The server tells its age in whole seconds.
    (again,) = await take(other, 1, wait=LEASE + 1.0 + 5.0)
    assert (again.attempt, again.alone) == (2, True)


# --- It stood still: paused, cut off from everybody, or the whole machine was asleep -----------------------------


async def standstill(room: Room, server: OwnServer) -> tuple[str, list[Delivery]]:
    """Let the server stand still; return what the ack of one consumer is answered, and what another one got."""
    transport, elsewhere = await room.transport(), await room.transport()
    worker = await room.reader(transport, consumer="worker", lease=LEASE)
    other = await room.reader(elsewhere, consumer="other", lease=LEASE)
    await publish(transport, outgoing("m-1"))
    (held,) = await worker.receive(limit=1, start=1, wait=5)
    server.pause()
    await asyncio.sleep(AWAY)
    server.resume()
    stolen = await other.receive(limit=1, start=1, wait=LEASE / 4)
    return await settle(worker, Ack(held.token)), list(stolen)


async def test_when_nobody_was_heard_of_all_have_a_whole_lease_to_come_back(room: Room, server: OwnServer) -> None:
    answer, stolen = await standstill(room, server)
    assert (answer, stolen) == ("done", [])


async def test_saboteur_without_that_silence_the_first_one_back_takes_over_from_the_others(
    room: Room, server: OwnServer, change_library: Callable[..., None]
) -> None:
    change_library(("if not silence or not epoch or", "if true or"))
    answer, stolen = await standstill(room, server)
    assert (answer, len(stolen)) == ("stale", 1)


async def test_who_died_while_it_stood_still_is_given_up_a_lease_later(room: Room, server: OwnServer) -> None:
    transport = await room.transport()
    other = await room.reader(await room.transport(), consumer="other", lease=LEASE)
    await publish(transport, outgoing("m-1"))
    await (await room.reader(transport, consumer="dead", lease=LEASE)).receive(limit=1, start=1, wait=5)
    await other.receive(limit=1, start=1, wait=0)
    server.pause()
    await asyncio.sleep(AWAY)
    server.resume()
    (again,) = await take(other, 1, wait=LEASE + 5.0)
    assert (again.attempt, again.alone) == (2, True)


async def given_up_by_who_is_silent_too(room: Room) -> bool:
    """Tell whether the work of a dead consumer comes to one that calls less often than twice a lease."""
    transport = await room.transport()
    busy = await room.reader(await room.transport(), consumer="busy", lease=LEASE)
    await publish(transport, outgoing("m-1"))
    await (await room.reader(transport, consumer="dead", lease=LEASE)).receive(limit=1, start=1, wait=5)
    for _ in range(6):
        await asyncio.sleep(LEASE * 0.7)
        if await busy.receive(limit=1, start=1, wait=0):
            return True
    return False


async def test_a_consumer_that_is_always_silent_takes_over_too(room: Room) -> None:
    assert await given_up_by_who_is_silent_too(room)


async def test_saboteur_who_is_left_alone_after_each_silence_is_never_given_up(
    room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("left_alone ~= '' and tonumber(left_alone) or now + lease", "now + lease"))
    assert not await given_up_by_who_is_silent_too(room)


async def tidied_while_away(room: Room) -> str:
    """Let somebody else tidy an inbox whose only consumer is over its lease; return what its ack is answered."""
    transport = await room.transport()
    await publish(transport, outgoing("m-1"))
    worker = await room.reader(transport, consumer="worker", lease=LEASE)
    (held,) = await worker.receive(limit=1, start=1, wait=5)
    await asyncio.sleep(AWAY)
    await (await room.transport()).tidy(INBOX, keep=60)
    return await settle(worker, Ack(held.token))


async def test_who_tidies_up_gives_notice_before_it_takes_away(room: Room) -> None:
    assert await tidied_while_away(room) == "done"


async def test_saboteur_who_tidies_up_without_notice_takes_the_work_of_the_living(
    room: Room, change_library: Callable[..., None]
) -> None:
    change_library(("if epoch and left_alone == '' then", "left_alone = '0' if false then"))
    assert await tidied_while_away(room) == "stale"
