"""Rooms on real servers, servers of a test's own, faults on the line, and other texts of the library."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import pytest

from hivebus_redis import library

from .own_server import OwnServer
from .proxy import Proxy
from .room import Room
from .sleepers import Begun, keep_book


class Anybody(Protocol):
    """A server that a room can be made on."""

    url: str
    socket: str

    def client(self): ...


@pytest.fixture
async def room(any_server: Anybody) -> AsyncIterator[Room]:
    """A namespace on each kind of server in turn."""
    async for each in _room_on(any_server):
        yield each


@pytest.fixture
async def redis_room(redis_server: Anybody) -> AsyncIterator[Room]:
    """A namespace on Redis, where one kind of server is enough."""
    async for each in _room_on(redis_server):
        yield each


@pytest.fixture(params=["redis", "valkey"])
def own_server(request: pytest.FixtureRequest, make_server: Callable[..., OwnServer]) -> OwnServer:
    """A server that the test may ruin, of each kind in turn."""
    return make_server(kind=request.param)


@pytest.fixture
async def own_room(own_server: OwnServer) -> AsyncIterator[Room]:
    """A room on a server that the test may ruin."""
    async for each in _room_on(own_server):
        yield each


@pytest.fixture
def make_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., OwnServer]]:
    """Start servers with settings of their own; they are gone after the test."""
    started: list[OwnServer] = []

    def make(*settings: str, kind: str = "redis", config: str = "") -> OwnServer:
        server = OwnServer(request.getfixturevalue(f"{kind}_program"), *settings, config=config)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.remove()


@pytest.fixture
def proxy(redis_server: Anybody) -> Iterator[Proxy]:
    """A line to the server of `redis_room` that can lose answers."""
    line = Proxy(redis_server.socket)
    yield line
    line.close()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """Keep book of the long polls."""
    return keep_book(monkeypatch)


@pytest.fixture
def change_library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make transports that connect from now on use another text of the server-side functions."""

    def change(*changes: tuple[str, str]) -> None:
        text = library._text()
        for old, new in changes:
            assert text.count(old) == 1, f"the library must hold exactly once: {old}"
            text = text.replace(old, new)
        monkeypatch.setattr(library, "_text", lambda: text)

    return change


async def _room_on(server: Anybody) -> AsyncIterator[Room]:
    with server.client() as client:
        room = Room(server.url, client)
        yield room
        await room.close()
