"""A server that was away for longer than a lease: its consumers are alive, and nothing that ran is blamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from hivebus.transport import Ack, Delivery

from .own_server import DURABLE, OwnServer
from .room import Room, outgoing, publish, settle, take

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
