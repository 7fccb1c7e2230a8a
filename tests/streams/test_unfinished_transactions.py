"""A server dies in the middle of a write: what it has written of that transaction is never run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hivebus_redis.append_only import BEGIN, END, cut_unfinished
from hivebus_redis.drill.disk import TORN

from .own_server import DURABLE, OwnServer
from .room import Room, outgoing, publish

BATCH = [outgoing(f"m-{number}") for number in range(15)]
COMMAND = b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"
WHOLE = COMMAND + BEGIN + 2 * COMMAND + END

PLACES = pytest.mark.parametrize(
    "after",
    [b"MULTI\r\n", b"XADD\r\n", b"m-14", b"MSET\r\n", b"*1\r\n$4\r\nEXEC"],
    ids=["behind its begin", "in an entry", "behind most entries", "in the ids", "in its end"],
)
Server = Callable[..., OwnServer]


async def stored(server: OwnServer, *, after: bytes, cut: Callable[[Path], object]) -> int:
    """Let a server die while it writes a batch, send that again, restart it once more, and return what it holds.

    Args:
        server: of the test.
        after: the file ends behind the last of these bytes.
        cut: is called before each start.
    """
    with server.client() as client:
        room = Room(server.url, client)
        await publish(await room.transport(), *BATCH)
        server.kill()
        (file,) = server.folder.rglob("*.incr.aof")
        os.truncate(file, file.read_bytes().rindex(after) + len(after))
        cut(server.folder)
        server.start()
        assert set(await publish(await room.transport(), *BATCH)) == {"stored"}
        server.kill()
        cut(server.folder)
        server.start()
        count = sum(client.xlen(stream) for stream in client.scan_iter(f"{room.namespace}:*:q:*"))
        await room.close()
    return count


@pytest.mark.parametrize("kind", ["redis", "valkey"])
@PLACES
async def test_what_was_sent_again_is_stored_once(make_server: Server, kind: str, after: bytes) -> None:
    server = make_server(*DURABLE, kind=kind)
    assert await stored(server, after=after, cut=cut_unfinished) == len(BATCH)


@PLACES
async def test_valkey_needs_nobody_who_cuts(make_server: Server, after: bytes) -> None:
    server = make_server(*DURABLE, kind="valkey")
    assert await stored(server, after=after, cut=lambda _: None) == len(BATCH)


@pytest.mark.usefixtures("careless_program")
async def test_saboteur_redis_stores_twice_what_nobody_has_cut(make_server: Server) -> None:
    server = make_server(*DURABLE)
    assert await stored(server, after=b"MSET\r\n", cut=lambda _: None) == 2 * len(BATCH)


@pytest.mark.parametrize(
    "unfinished", [BEGIN, BEGIN + COMMAND, BEGIN + COMMAND + COMMAND[:9], WHOLE[len(COMMAND) : -1], TORN]
)
def test_what_is_whole_stays(tmp_path: Path, unfinished: bytes) -> None:
    file = tmp_path / "appendonlydir" / "appendonly.aof.10.incr.aof"
    file.parent.mkdir()
    file.write_bytes(2 * WHOLE + COMMAND + unfinished)
    older = file.with_name("appendonly.aof.9.incr.aof")
    older.write_bytes(BEGIN)

    assert cut_unfinished(tmp_path) == len(unfinished)
    assert file.read_bytes() == 2 * WHOLE + COMMAND
    assert older.read_bytes() == BEGIN, "a server that has begun a new file has finished the last one"


@pytest.mark.parametrize("text", [b"", COMMAND, WHOLE, WHOLE + COMMAND, WHOLE + COMMAND[:-3]])
def test_a_file_without_an_unfinished_transaction_is_not_touched(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "appendonly.aof.1.incr.aof"
    file.write_bytes(text)

    assert cut_unfinished(tmp_path) == 0
    assert file.read_bytes() == text


def test_where_no_server_has_written_there_is_nothing_to_cut(tmp_path: Path) -> None:
    assert cut_unfinished(tmp_path) == 0
