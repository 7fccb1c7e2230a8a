"""One connection: an answer that is late breaks it, whatever came before; what nobody waits for does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivebus.errors import Unknown
from hivebus_redis.address import Address
from hivebus_redis.connection import Channel
from hivebus_redis.wire import Wire

IN_TIME = 0.3
PATIENCE = 5.0


@pytest.fixture
async def channel(short_path: Path) -> AsyncIterator[Channel]:
    """A channel to a server that answers each PING, and nothing else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(b"+PONG\r\n" * data.count(b"PING") + b"+OK\r\n" * data.count(b"CLIENT"))
        writer.close()
        await writer.wait_closed()
        gone.set()

    gone = asyncio.Event()
    path = str(short_path / "s")
    server = await asyncio.start_unix_server(serve, path)
    channel = Channel(Address(url=f"unix://{path}", where=path, max_messages=1, max_bytes=1), reply_timeout=IN_TIME)
    await channel.connect()
    yield channel
    await channel.close()
    server.close()
    await gone.wait()


async def late(channel: Channel) -> float:
    """Ask what is not answered, and return the seconds until that was told."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Unknown):
        async with asyncio.timeout(PATIENCE):
            await channel.call("SILENCE")
    return loop.time() - began


async def test_an_answer_that_does_not_come_breaks_the_connection_when_it_is_late(channel: Channel) -> None:
    assert await late(channel) >= IN_TIME
    assert channel.wire is None


async def test_each_call_has_its_whole_time(channel: Channel) -> None:
    """The one before it was answered, so what was to be looked at for its sake is not this one's end."""
    await channel.call("PING")
    await asyncio.sleep(IN_TIME * 0.7)
    assert await late(channel) >= IN_TIME


async def test_a_call_after_a_quiet_time_is_looked_at_too(channel: Channel) -> None:
    await channel.call("PING")
    await asyncio.sleep(IN_TIME * 2)
    assert await late(channel) >= IN_TIME


async def test_what_nobody_waits_for_breaks_nothing_and_hides_nobody(channel: Channel) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(IN_TIME / 10):
            await channel.call("SILENCE")
    await asyncio.sleep(IN_TIME * 2)
    assert channel.wire is not None
    assert await late(channel) >= IN_TIME


async def test_all_answers_of_several_commands_are_waited_for_in_the_same_way(channel: Channel) -> None:
    assert await channel.call_all(("PING",), ("PING",)) == [b"PONG", b"PONG"]
    with pytest.raises(Unknown):
        async with asyncio.timeout(PATIENCE):
            await channel.call_all(("PING",), ("SILENCE",))


async def is_late_behind_a_long_one(channel: Channel) -> bool:
    """Ask what might take long, and then what is not answered; tell whether that was told in its own time."""
    begun = channel.begin_all([("PING",)], lasting=PATIENCE * 2, rings=lambda: None)
    assert begun is not None and await begun == [b"PONG"]
    try:
        return await late(channel) >= IN_TIME
    except TimeoutError:
        return False


async def test_what_was_allowed_to_take_longer_gives_its_time_to_nobody(channel: Channel) -> None:
    assert await is_late_behind_a_long_one(channel)


async def test_saboteur_who_keeps_the_time_of_the_one_before_waits_too_long(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_until = Wire._watch_until
    monkeypatch.setattr(Wire, "_watch_until", lambda wire, time: wire._watch or watch_until(wire, time))

    assert not await is_late_behind_a_long_one(channel)


async def test_a_connection_that_is_closed_leaves_no_timer(channel: Channel) -> None:
    await channel.call("PING")
    wire = channel.wire
    assert wire is not None and wire._watch is not None
    await channel.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire._watch.cancelled()


async def test_saboteur_a_connection_that_looks_once_waits_for_ever(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Wire._look

    def look_once(wire: Wire) -> None:
        look(wire)
        if wire._watch is not None:
            wire._watch.cancel()

    monkeypatch.setattr(Wire, "_look", look_once)
    await channel.call("PING")
    await asyncio.sleep(IN_TIME * 0.7)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(IN_TIME * 4):
            await channel.call("SILENCE")
