"""The border: whatever redis-py raises arrives as an error of hivebus, with the meaning that it has for a message."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
from redis import exceptions

from hivebus.bus import Bus
from hivebus.errors import BrokerFull, HivebusError, NotPermitted, Unavailable, Unknown, Unsupported
from hivebus_redis.errors import translated
from hivebus_redis.resp import ReplyError, translate

from .own_server import OwnServer, free_port
from .room import until

ALL = [
    each
    for _, each in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(each, Exception) and each.__module__ == exceptions.__name__
]


def made(kind: type[Exception]) -> Exception:
    """Return one exception of a class, whatever it wants to know."""
    if issubclass(kind, exceptions.AskError):
        return kind("1234 127.0.0.1:7000")
    return kind("something")


@pytest.mark.parametrize("connecting", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_no_exception_of_the_client_gets_out(kind: type[Exception], connecting: bool) -> None:
    with pytest.raises(HivebusError) as caught, translated("redis://h", connecting=connecting):
        raise made(kind)

    assert str(caught.value).startswith(
        ("redis://h", "no server answers at redis://h", "lost the connection to redis://h")
    )
    assert caught.value.hint and caught.value.cause


def test_the_parameters_are_all_the_exceptions_there_are() -> None:
    def below(kind: type[Exception]) -> Iterator[type[Exception]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    assert {each for each in below(exceptions.RedisError) if each.__module__ == exceptions.__name__} <= set(ALL)
    assert len(ALL) > 25


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ConnectionError("reset"), Unknown),
        (exceptions.TimeoutError("slow"), Unknown),
        (TimeoutError("slow"), Unknown),
        (ConnectionResetError(104, "reset"), Unknown),
        (BrokenPipeError(32, "pipe"), Unknown),
        (exceptions.InvalidResponse("H"), Unknown),
        (ConnectionRefusedError(111, "refused"), Unavailable),
        (FileNotFoundError(2, "no socket"), Unavailable),
        (exceptions.BusyLoadingError("loading"), Unavailable),
        (exceptions.ReadOnlyError("replica"), Unavailable),
        (exceptions.ClusterDownError("down"), Unavailable),
        (exceptions.TryAgainError("moving"), Unavailable),
        (exceptions.MasterDownError("down"), Unavailable),
        (exceptions.OutOfMemoryError("memory"), BrokerFull),
        (exceptions.ResponseError("OOM command not allowed"), BrokerFull),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF file"), BrokerFull),
        (exceptions.AuthenticationError("wrong"), NotPermitted),
        (exceptions.AuthorizationError("wrong"), NotPermitted),
        (exceptions.NoPermissionError("no"), NotPermitted),
        (exceptions.ResponseError("NOPERM this user has no permissions"), NotPermitted),
        (exceptions.ResponseError("The user executing the script can't run this command or subcommand"), NotPermitted),
        (exceptions.ResponseError("ACL failure in script: User agent has no permissions to run 'hset'"), NotPermitted),
        (exceptions.ResponseError("ERR unknown command 'FCALL'"), Unsupported),
    ],
)
def test_an_error_means_the_same_for_the_message(error: Exception, expected: type[HivebusError]) -> None:
    with pytest.raises(HivebusError) as caught, translated("redis://h"):
        raise error
    assert type(caught.value) is expected


def test_a_refused_connection_is_recognised_behind_other_errors() -> None:
    with pytest.raises(Unavailable), translated("redis://h"):
        raise exceptions.ConnectionError("Error 111") from ConnectionRefusedError(111, "refused")


def test_while_connecting_nothing_can_have_been_stored() -> None:
    for error in (exceptions.TimeoutError("slow"), ConnectionResetError(104, "reset"), exceptions.InvalidResponse("H")):
        with pytest.raises(Unavailable), translated("redis://h", connecting=True):
            raise error


def test_what_is_no_fault_of_the_server_passes() -> None:
    with pytest.raises(ZeroDivisionError), translated("redis://h"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", BrokerFull),
        ("MISCONF Errors writing to the AOF file", BrokerFull),
        ("NOAUTH Authentication required.", NotPermitted),
        ("WRONGPASS invalid username-password pair", NotPermitted),
        ("NOPERM this user has no permissions", NotPermitted),
        ("ERR The user executing the script can't run this command or subcommand", NotPermitted),
        ("ERR ACL failure in script: User agent has no permissions to run the 'hset' command", NotPermitted),
        ("ERR AUTH <password> called without any password configured for the default user.", NotPermitted),
        ("LOADING Redis is loading the dataset in memory", Unavailable),
        ("READONLY You can't write against a read only replica.", Unavailable),
        ("CLUSTERDOWN Hash slot not served", Unavailable),
        ("ERR unknown command", Unsupported),
    ],
)
def test_a_one_shot_sender_reads_the_same_meaning(reply: str, expected: type[HivebusError]) -> None:
    error = translate(ReplyError(reply), "redis://h")

    assert type(error) is expected and error.hint


# --- A cluster, for real ---------------------------------------------------------------------------------


async def test_a_node_of_a_cluster_is_away_until_it_has_slots_and_then_refused_by_name(
    make_server: Callable[..., OwnServer],
) -> None:
    server = make_server("--cluster-enabled", "yes", "--port", str(free_port()), "--cluster-port", str(free_port()))
    with pytest.raises(Unavailable, match="the cluster is down"):
        await send(server.url)
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")))
    with pytest.raises(Unsupported, match="a node of a cluster") as refused:
        await send(server.url)
    assert "cluster-enabled no" in (refused.value.hint or "")


async def send(url: str) -> None:
    async with Bus(url, agent="pm") as bus:
        await bus.send("dev", "hello")
