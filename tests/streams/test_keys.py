"""Where things are kept: all keys of an inbox carry its hash tag, and libraries of two releases live side by side."""

from __future__ import annotations

import re

from redis.crc import key_slot

from hivebus.transport import Ack, DeadLetter, Inbox, Retry
from hivebus_redis.library import read_prefix

from .room import Room, outgoing, publish, settle, take


async def live_through_everything(room: Room) -> None:
    """Leave something behind in every kind of key that an inbox can have."""
    transport = await room.transport()
    await publish(transport, *(outgoing(priority=level) for level in (1, 2, 3, 4, 5) for _ in range(3)))
    await publish(transport, outgoing("later", delay=100), outgoing("short", ttl=0.001))
    reader = await room.reader(transport)
    first, second, third, *_ = await take(reader, 8)
    await settle(reader, Ack(first.token))
    await settle(reader, DeadLetter(second.token, "no"))
    await settle(reader, Retry(third.token, 100))
    await transport.cancel("pm", ["later"])
    dying = await room.reader(transport, consumer="dying", lease=0.01)
    await dying.receive(limit=4, start=2, wait=0)
    await take(await room.reader(transport, consumer="heir"), 3)
    shadow = await transport.open(Inbox("pm", group="shadow"), consumer="shadow", lease=1)
    await settle(shadow, Retry((await take(shadow))[0].token, 100))
    await shadow.close()


async def test_every_key_of_an_inbox_lives_in_one_slot(room: Room) -> None:
    await live_through_everything(room)

    keys = room.redis.keys(f"{room.namespace}:*")
    of_inbox = [key for key in keys if key.startswith(f"{room.namespace}:{{pm}}:")]

    assert {key_slot(key.encode()) for key in of_inbox} == {key_slot(b"pm")}
    assert set(keys) - set(of_inbox) == {f"{room.namespace}:{{@sys}}:{name}" for name in ("inboxes", "born")}


async def test_the_keys_are_the_documented_ones(room: Room) -> None:
    await live_through_everything(room)

    names = {key.split("}:")[1] for key in room.redis.keys(f"{room.namespace}:{{pm}}:*")}

    of_group = "due|ready|suspect|fetched|alone|fate|lease|consumers"
    known = rf"q:[1-5]|meta|bell|done|dlq|sched|cancelled|unhandled|ttl|gone|id:.+|({of_group})(@\w+)?"
    assert [name for name in names if not re.fullmatch(known, name)] == []
    assert {"q:1", "q:2", "q:3", "q:4", "q:5", "meta", "dlq", "due", "lease", "consumers", "done"} <= names


async def test_two_namespaces_of_one_server_share_nothing(redis_room: Room) -> None:
    here, other = redis_room, Room(redis_room.url, redis_room.redis)
    mine, theirs = await here.transport(), await other.transport()
    await publish(mine, outgoing("m-1"))

    assert await publish(theirs, outgoing("m-1")) == ["stored"]
    assert (await theirs.counts(["pm"]))[0].waiting == 1
    await other.close()


async def test_libraries_of_two_releases_serve_one_inbox_side_by_side(room: Room, change_library) -> None:
    old = await room.transport()
    old_prefix = read_prefix()
    change_library(("local CHUNK = 1000", "local CHUNK = 999"))
    new = await room.transport()

    assert read_prefix() != old_prefix
    assert await publish(old, outgoing("by-old")) == ["stored"]
    assert await publish(new, outgoing("by-old"), outgoing("by-new")) == ["duplicate", "stored"]
    old_reader = await room.reader(old, consumer="old")
    new_reader = await room.reader(new, consumer="new")
    (first,), (second,) = await take(new_reader), await take(old_reader)
    assert [each.token.rpartition("/")[2] for each in (first, second)] == ["by-old", "by-new"]
    assert [await settle(new_reader, Ack(first.token)), await settle(old_reader, Ack(second.token))] == ["done", "done"]
    loaded = str(room.redis.execute_command("FUNCTION", "LIST"))
    assert old_prefix in loaded and read_prefix() in loaded
