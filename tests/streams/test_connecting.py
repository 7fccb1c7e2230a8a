"""What a user is told when there is no server, the wrong one or one that refuses: fast, clearly, without secrets."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hivebus.errors import DurabilityUnavailable, HivebusError, NotPermitted, Unavailable, Unknown
from hivebus.transport import Endpoint
from hivebus_redis import connection, one_shot
from hivebus_redis.one_shot import redis_one_shot
from hivebus_redis.streams import open_streams

from .own_server import DURABLE, OwnServer, free_port
from .room import Room, outgoing, publish, take
from .strangers import HTTP, stranger

SECRET = "s3cret-Pa55"
WRONG = "wr0ng-Pa55"


async def by_bus(url: str) -> HivebusError:
    """Return what connecting the transport raises."""
    transport = open_streams(Endpoint(url=url))
    try:
        with pytest.raises(HivebusError) as caught:
            await transport.connect()
    finally:
        await transport.close()
    return caught.value


async def by_script(url: str) -> HivebusError:
    """Return what sending one message raises, or returns as its error."""
    sender = redis_one_shot(Endpoint(url=url))
    assert sender is not None
    try:
        (result,) = sender.publish_once([outgoing()])
    except HivebusError as error:
        return error
    assert isinstance(result, HivebusError)
    return result


ways = pytest.mark.parametrize("ask", [by_bus, by_script])
Ask = Callable[[str], Any]


# --- Nobody there ---------------------------------------------------------------------------------


@ways
async def test_without_a_server_the_sender_is_told_where_it_looked(ask: Ask, short_path: Path) -> None:
    port = free_port()
    for url in (f"redis://127.0.0.1:{port}", f"unix://{short_path}/nobody.sock"):
        error = await ask(url)

        assert type(error) is Unavailable
        assert f"no server answers at {url}" in str(error) and "hivebus config show" in str(error)


@ways
async def test_a_name_that_no_host_can_have_is_no_server(ask: Ask) -> None:
    assert type(await ask("redis://a..b:6379")) is Unavailable


@ways
async def test_something_that_speaks_http_is_called_by_its_fault(ask: Ask) -> None:
    with stranger(HTTP) as port:
        error = await ask(f"redis://127.0.0.1:{port}")

    assert type(error) is Unavailable
    assert f"127.0.0.1:{port} does not speak the protocol of Redis" in str(error)
    assert "check host and port" in str(error)


@ways
async def test_something_that_hangs_up_is_no_server(ask: Ask) -> None:
    with stranger(b"") as port:
        error = await ask(f"redis://127.0.0.1:{port}")

    # Whoever sends without a greeting cannot know what became of the request.
    assert type(error) in (Unavailable, Unknown) and f"127.0.0.1:{port}" in str(error)


@ways
async def test_something_that_never_answers_is_given_up(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(one_shot, "REPLY_TIMEOUT", 0.2)
    with stranger(None) as port:
        error = await ask(f"redis://127.0.0.1:{port}")

    assert type(error) in (Unavailable, Unknown) and f"127.0.0.1:{port}" in str(error)


async def test_a_server_that_is_paused_is_given_up_and_found_again(own_server: OwnServer, own_room: Room) -> None:
    transport = await own_room.transport()
    transport._server.publishing._reply_timeout = 0.2
    own_server.pause()
    (error,) = await transport.publish([outgoing("m-1")])
    own_server.resume()

    assert isinstance(error, Unknown) and "same message_id" in str(error)
    assert (await publish(transport, outgoing("m-1")))[0] in ("stored", "duplicate")
    assert own_room.entries() == ["m-1"]


# --- Not let in -------------------------------------------------------------------------------------


@pytest.fixture(params=["redis", "valkey"])
def locked_server(request: pytest.FixtureRequest, make_server: Callable[..., OwnServer]) -> OwnServer:
    """A server that wants a password."""
    return make_server("--requirepass", SECRET, kind=request.param)


def everything_said(error: BaseException) -> str:
    """Return all that a traceback or a debugger would print of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@ways
async def test_a_wrong_password_is_refused_and_never_shown(
    ask: Ask, locked_server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    error = await ask(f"unix://:{WRONG}@{locked_server.socket}")

    assert type(error) is NotPermitted and "check user and password in the URL" in str(error)
    assert WRONG not in everything_said(error) + caplog.text


@ways
async def test_without_the_password_the_server_lets_nobody_in(ask: Ask, locked_server: OwnServer) -> None:
    assert type(await ask(locked_server.url)) is NotPermitted


@ways
async def test_a_password_where_none_is_wanted_is_said_so(ask: Ask, own_server: OwnServer) -> None:
    error = await ask(f"unix://:{WRONG}@{own_server.socket}")

    assert type(error) is NotPermitted and WRONG not in everything_said(error)


async def test_the_right_password_opens_every_way(locked_server: OwnServer) -> None:
    url = f"unix://:{SECRET}@{locked_server.socket}"
    sender = redis_one_shot(Endpoint(url=url))
    transport = open_streams(Endpoint(url=url))
    await transport.connect()

    assert sender is not None and sender.publish_once([outgoing("m-1")])[0].state == "stored"
    assert await publish(transport, outgoing("m-1")) == ["duplicate"]
    await transport.close()


# --- Let in, with fewer rights ------------------------------------------------------------------------


def user(room: Room, *rules: str) -> str:
    """Make a user and return the URL that it has."""
    room.redis.execute_command("ACL", "SETUSER", "agent", "reset", "on", f">{SECRET}", "+@connection", *rules)
    return room.url.replace("unix://", f"unix://agent:{SECRET}@")


@ways
async def test_who_may_not_call_functions_is_told_so(ask: Ask, own_room: Room) -> None:
    error = await ask(user(own_room, "~*", "+function|load"))

    assert type(error) is NotPermitted and SECRET not in everything_said(error)


async def test_who_may_not_load_functions_uses_those_that_are_there(own_room: Room) -> None:
    operator = await own_room.transport()
    await publish(operator, outgoing("m-1"))
    url = user(own_room, "~*", "+@stream", "+@read", "+@write", "+fcall", "+time")
    agent = await own_room.transport(url)

    assert await publish(agent, outgoing("m-2")) == ["stored"]
    assert len(await take(await own_room.reader(agent), 2)) == 2


async def test_who_may_not_load_functions_cannot_start_an_empty_server(own_room: Room) -> None:
    error = await by_bus(user(own_room, "~*", "+@all", "-function"))

    assert type(error) is NotPermitted


async def test_a_foreign_inbox_is_refused_and_ones_own_is_not(own_room: Room) -> None:
    await own_room.transport()
    rules = ("+@stream", "+@read", "+@write", "+fcall", "+time")
    keys = (f"~{own_room.key('*')}", f"~{own_room.key('*', '@sys')}")
    agent = await own_room.transport(user(own_room, *rules, *keys))

    mine, foreign = await agent.publish([outgoing(), outgoing(inbox="other")])

    assert mine.state == "stored"
    assert isinstance(foreign, NotPermitted) and "ask the operator" in str(foreign)


async def test_who_may_not_read_the_configuration_is_promised_memory_only(
    make_server: Callable[..., OwnServer],
) -> None:
    server = make_server(*DURABLE)
    with server.client() as client:
        room = Room(server.url, client)
        await room.transport()
        url = user(room, "~*", "+@stream", "+@read", "+@write", "+fcall", "+time")
        agent = await room.transport(url, connected=False)
        assert (await agent.connect()).durability.value == "memory"

        bus = room.bus("pm", url, durability="fsync")
        with pytest.raises(DurabilityUnavailable) as caught:
            await bus.__aenter__()
        assert SECRET not in everything_said(caught.value)
        await room.close()


async def test_a_replica_is_refused_at_once(own_room: Room, make_server: Callable[..., OwnServer]) -> None:
    await own_room.transport()
    own_room.redis.replicaof("127.0.0.1", free_port())

    error = await by_bus(own_room.url)

    assert type(error) is Unavailable and "primary" in str(error)
