"""Entries that something else than hivebus wrote: dead letters with the original in them, and the consumer goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from hivebus.message import Message
from hivebus.transport import Ack, Located
from hivebus_redis.streams import RedisStreams

from .room import PATIENCE, Room, outgoing, publish, take

Fields = dict[bytes, bytes]


def message(**changes: Any) -> bytes:
    """Return a good message as it is on the wire, with fields replaced."""
    return json.dumps({"from_agent": "a", "to_agent": "pm", "body": {"content": "x"}} | changes).encode()


GOOD = message()
BROKEN: dict[str, tuple[Fields, str, bytes]] = {
    # what was written, the reason of its dead letter, and what must be visible in it
    "foreign fields": ({b"sensor": b"42", b"unit": b"C"}, "invalid:json", b"sensor=42 unit=C"),
    "no data": ({b"i": b"m-1"}, "invalid:json", b"i=m-1"),
    "nothing": ({b"d": b""}, "invalid:json", b""),
    "broken JSON": ({b"d": b'{"from_agent": "a", '}, "invalid:json", b'{"from_agent": "a", '),
    "not an object": ({b"d": b"[1, 2]"}, "invalid:message", b"[1, 2]"),
    "two documents": ({b"d": GOOD + GOOD}, "invalid:json", GOOD + GOOD),
    "invalid UTF-8": ({b"d": b'{"x": "\xff\xfe"}'}, "invalid:json", b'{"x": "\xff\xfe"}'),
    "a bare NUL": ({b"d": b'{"x": "\x00"}'}, "invalid:json", b'{"x": "\x00"}'),
    "half a character": ({b"d": message(body={"content": "\ud800"})}, "invalid:json", b"ud800"),
    "2 MiB": ({b"d": message(body={"content": "x" * 2**21})}, "invalid:too_large", b"xxxx"),
    "nested 10,000 deep": ({b"d": b"[" * 10_000 + b"]" * 10_000}, "invalid:json", b"[[[["),
    "nested 33 deep": (
        {b"d": GOOD.replace(b'"x"', b"[" * 33 + b"]" * 33)},
        "invalid:too_deep",
        b"[" * 33,
    ),
    "a version to come": ({b"d": message(schema_version=2)}, "invalid:schema_version", b'"schema_version": 2'),
    "a version that is no number": ({b"d": message(schema_version="1")}, "invalid:schema_version", b'"1"'),
    "no sender": ({b"d": b'{"to_agent": "pm", "body": {"content": 1}}'}, "invalid:from_agent", b'"pm"'),
    "a name with a brace": ({b"d": message(from_agent="a}*")}, "invalid:from_agent", b"a}*"),
    "a priority beyond all": ({b"d": message(priority=10**9)}, "invalid:priority", b"1000000000"),
    "a negative ttl": ({b"d": message(ttl=-1)}, "invalid:ttl", b'"ttl": -1'),
    "a boolean ttl": ({b"d": message(ttl=True)}, "invalid:ttl", b"true"),
    "NaN": ({b"d": b'{"from_agent": "a", "to_agent": "pm", "body": {"content": NaN}}'}, "invalid:", b"NaN"),
    "infinity": ({b"d": b'{"from_agent": "a", "to_agent": "pm", "body": {"content": 1e999}}'}, "invalid:", b"1e999"),
    "an id with spaces": ({b"i": b"a b,c", b"d": b"no"}, "invalid:json", b"no"),
    "an id with slashes": ({b"i": b"1/2/3/4", b"d": b"no"}, "invalid:json", b"no"),
    "an id that is no text": ({b"i": b"\xff\x00\xfe", b"d": b"no"}, "invalid:json", b"no"),
    "an id of 1 MB": ({b"i": b"m" * 10**6, b"d": b"no"}, "invalid:json", b"no"),
    "a deadline that is none": ({b"i": b"m-1", b"d": b"no", b"x": b"soon"}, "invalid:json", b"no"),
    "fields twice": ({b"d": b"no", b"i": b"m-1", b"D": b"yes"}, "invalid:json", b"no"),
}


@pytest.fixture
def add(any_server: Any, room: Room) -> Callable[..., None]:
    """Write an entry as another program would."""

    def write(fields: Fields, *, level: int = 2) -> None:
        with redis.Redis(unix_socket_path=any_server.socket) as client:
            client.xadd(room.key(f"q:{level}"), fields)

    return write


async def handled(room: Room, *, until: str = "the end") -> list[Any]:
    """Run an agent until it has handled a certain message; return all that its handler saw."""
    seen: list[Any] = []
    async with room.bus("pm") as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            seen.append(message.content)
            if message.content == until:
                bus.stop()

        async with asyncio.timeout(PATIENCE):
            await bus.run()
    return seen


async def dead_letters(transport: RedisStreams) -> list[Located]:
    """Return all dead letters, oldest first."""
    return list(reversed(await transport.dead("pm", limit=1000)))


@pytest.mark.parametrize("what", BROKEN)
async def test_what_cannot_be_read_becomes_a_dead_letter_and_the_consumer_goes_on(
    what: str, room: Room, add: Callable[..., None]
) -> None:
    fields, reason, visible = BROKEN[what]
    add(fields)
    async with room.bus("sender") as sender:
        await sender.send("pm", "the end")

    assert await handled(room) == ["the end"]

    transport = await room.transport()
    (dead,) = await dead_letters(transport)
    assert dead.reason is not None and dead.reason.startswith(reason)
    assert visible in (dead.data or b"")
    assert (await transport.counts(["pm"]))[0].in_flight == 0


async def test_a_hundred_broken_entries_in_a_row_stop_nobody(room: Room, add: Callable[..., None]) -> None:
    for n in range(100):
        add(list(BROKEN.values())[n % 9][0], level=1 + n % 5)
    async with room.bus("sender") as sender:
        await sender.send("pm", "the end", priority="low")

    assert await handled(room) == ["the end"]
    assert len(await dead_letters(await room.transport())) == 100


async def test_the_short_shape_is_handled(room: Room, add: Callable[..., None]) -> None:
    short = {"id": "s-1", "from": "old", "to": "pm", "type": "event", "payload": {"n": 1}, "timestamp": 1699999999}
    add({b"d": json.dumps(short).encode()})
    async with room.bus("sender") as sender:
        await sender.send("pm", "the end")

    assert await handled(room) == [{"n": 1}, "the end"]
    assert await dead_letters(await room.transport()) == []


async def test_a_good_message_needs_no_id_of_its_own(room: Room, add: Callable[..., None]) -> None:
    add({b"d": message(body={"content": "the end"})})

    assert await handled(room) == ["the end"]


async def test_looking_at_an_inbox_takes_no_harm_from_strange_entries(room: Room, add: Callable[..., None]) -> None:
    transport = await room.transport()
    reader = await room.reader(transport)
    for fields, _, _ in BROKEN.values():
        add(fields)

    assert len(await transport.peek("pm", limit=100)) == len(BROKEN)
    assert (await transport.counts(["pm"]))[0].waiting == len(BROKEN)
    taken = await take(reader, len(BROKEN))
    assert {each.token.split("/", 3)[3] for each in taken} == {"", "m-1"}
    assert len(await transport.peek("pm", limit=100)) == len(BROKEN)


async def test_a_strange_entry_does_not_take_the_place_of_a_message(room: Room, add: Callable[..., None]) -> None:
    transport = await room.transport()
    await publish(transport, outgoing("m 1".replace(" ", "-")))
    add({b"i": b"m-2 m-1", b"d": b"no"})
    async with room.bus("sender") as sender:
        await sender.send("pm", "the end")

    assert await handled(room) == ["hello", "the end"]
    (found,) = await transport.locate(["m-1"], ["pm"])
    assert found.state == "acknowledged"


async def test_a_stream_that_is_no_stream_is_an_error_and_no_crash(room: Room) -> None:
    transport = await room.transport()
    room.redis.set(room.key("q:2"), "hello")

    (refused,) = await transport.publish([outgoing()])
    assert "WRONGTYPE" in str(refused)
    (stored,) = await transport.publish([outgoing(inbox="other")])
    assert stored.state == "stored"


async def test_saboteur_an_id_that_is_taken_as_it_is_is_kept_as_two(
    room: Room, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivebus_redis.polls._is_plain", lambda token: True)
    reader = await room.reader(await room.transport())
    add({b"i": b"m-2 m-1", b"d": b"no"})

    (taken,) = await take(reader)
    await reader.settle([Ack(taken.token)])
    ((_, kept),) = room.redis.xrange(room.key("done"))
    assert kept["i"].split() == ["m-2", "m-1"]
