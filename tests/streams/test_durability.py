"""Levels: what was asked for is given, now and later, or nothing is stored and the sender is told why."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

import hivebus
from hivebus.bus import Bus
from hivebus.errors import DurabilityUnavailable
from hivebus_redis import embedded, promise
from hivebus_redis.durability import NEEDED, judge
from hivebus_redis.embedded.places import Places
from hivebus_redis.promise import Promise

from .own_server import DURABLE, OwnServer
from .room import Room, until

KINDS = ("redis", "valkey")
NOTICED_WITHIN = 2.0
"""Seconds after which a changed configuration must be noticed: one for the next look, and room for a slow machine."""


@pytest.fixture(params=KINDS)
def durable_server(request: pytest.FixtureRequest, make_server: Callable[..., OwnServer]) -> OwnServer:
    """A server that has every write on disk before it answers."""
    return make_server(*DURABLE, kind=request.param)


@pytest.fixture
async def durable_room(durable_server: OwnServer):
    """A room on it."""
    with durable_server.client() as client:
        room = Room(durable_server.url, client)
        yield room
        await room.close()


# --- At connect ------------------------------------------------------------------------------------


async def test_a_level_that_is_given_stands_on_the_receipt(durable_room: Room) -> None:
    async with durable_room.bus("sender", durability="fsync") as bus, durable_room.bus("other") as other:
        assert (await bus.send("pm", "hello")).durability == "fsync"
        assert (await other.send("pm", "hello")).durability == "fsync", "also for who did not ask"


async def test_a_level_that_is_not_given_is_refused_with_the_reason_and_the_next_step(own_room: Room) -> None:
    with pytest.raises(DurabilityUnavailable) as caught:
        await own_room.bus("sender", durability="fsync").__aenter__()

    error = caught.value
    assert f"{own_room.url} gives durability 'memory', not 'fsync'" in error.what
    assert error.cause == "its appendonly is no, its appendfsync is everysec"
    assert "CONFIG SET appendonly yes; CONFIG SET appendfsync always" in str(error.hint)


@pytest.mark.parametrize("name", NEEDED)
def test_every_one_of_the_settings_is_needed(name: str) -> None:
    assert judge(NEEDED).name == "fsync"
    level = judge({**NEEDED, name: "everysec"})
    assert level.name == "memory" and f"its {name} is everysec" in level.why


async def test_a_rewrite_that_stops_syncing_is_no_fsync(make_server: Callable[..., OwnServer]) -> None:
    server = make_server(*DURABLE, "--no-appendfsync-on-rewrite", "yes")
    with pytest.raises(DurabilityUnavailable, match="its no-appendfsync-on-rewrite is yes"):
        await Bus(server.url, agent="sender", durability="fsync").__aenter__()


async def test_a_command_that_asks_for_more_than_there_is_stores_nothing(own_room: Room) -> None:
    program = Path(sys.executable).with_name("hivebus")
    words = [program, "send", "pm", "hello", "--url", own_room.url, "--namespace", own_room.namespace, "-a", "sender"]
    done = await asyncio.to_thread(
        subprocess.run, words, env={"HIVEBUS_DURABILITY": "fsync"}, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 78
    assert "gives durability 'memory', not 'fsync'" in done.stderr and "CONFIG SET appendfsync always" in done.stderr
    assert own_room.entries() == []


def test_a_script_that_asks_for_what_any_server_gives_is_served(
    own_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_DURABILITY", "memory")
    receipt = hivebus.send("pm", "hello", from_agent="sender", url=own_room.url, namespace=own_room.namespace)
    assert receipt.durability == "memory"


# --- Later -------------------------------------------------------------------------------------------


async def weaken_and_send(room: Room, bus: Bus) -> float:
    """Take the level away under a running bus; return after how many seconds a send was refused."""
    await bus.send("pm", "before")
    room.redis.config_set("appendfsync", "everysec")
    began = monotonic()
    while monotonic() - began < 1.5 * NOTICED_WITHIN:
        try:
            await bus.send("pm", "during")
        except DurabilityUnavailable:
            return monotonic() - began
        await asyncio.sleep(0.02)
    return float("inf")


async def test_a_configuration_that_changes_under_a_running_bus_is_noticed(
    durable_room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async with durable_room.bus("sender", durability="fsync") as bus, durable_room.bus("other") as other:
        await other.send("pm", "hello")

        assert await weaken_and_send(durable_room, bus) <= NOTICED_WITHIN

        stored = len(durable_room.entries())
        with pytest.raises(DurabilityUnavailable, match="its appendfsync is everysec"):
            await bus.send("pm", "again")
        assert len(durable_room.entries()) == stored, "nothing is stored at a lesser level"
        await asyncio.sleep(2 * promise.EVERY)
        assert (await other.send("pm", "hello")).durability == "memory", "who did not ask is told by the receipt"
        durable_room.redis.config_set("appendfsync", "always")
        assert (await bus.send("pm", "after")).durability == "fsync", "and it goes on when it is given again"
    alarms = [each for each in caplog.records if each.name == "hivebus.alarms"]
    assert [(each.levelno, each.now) for each in alarms] == [(logging.ERROR, "memory")] * 2, "once each"


async def test_saboteur_a_bus_that_looks_only_once_goes_on_without_the_level(
    durable_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promise, "EVERY", 1e9)
    async with durable_room.bus("sender", durability="fsync") as bus:
        assert await weaken_and_send(durable_room, bus) == float("inf")


async def restart_weaker(server: OwnServer, room: Room) -> tuple[str | None, list[str]]:
    """Restart a server without the level between two sends; return the second receipt's, and what is stored."""
    async with room.bus("sender", durability="fsync") as bus:
        await bus.send("pm", "before", message_id="before")
        server.kill()
        server.start("--appendfsync", "everysec")
        try:
            level = (await bus.send("pm", "after", message_id="after")).durability
        except DurabilityUnavailable:
            level = None
        await until(lambda: room.redis.ping())
        return level, room.entries()


async def test_a_server_that_comes_back_with_less_gets_nothing(durable_server: OwnServer, durable_room: Room) -> None:
    assert await restart_weaker(durable_server, durable_room) == (None, ["before"])


async def test_saboteur_a_bus_that_does_not_look_at_a_new_connection_stores_it_silently(
    durable_server: OwnServer, durable_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with durable_room.bus("warm"):
        pass
    look = Promise.is_due.fget
    monkeypatch.setattr(Promise, "is_due", property(lambda self: self._seen is None and look(self)))
    assert await restart_weaker(durable_server, durable_room) == ("fsync", ["before", "after"])


# --- The embedded server -----------------------------------------------------------------------------


@pytest.fixture
def embedded_server(short_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The embedded server of a namespace of this test alone, weakened by its user."""
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        folder = short_path / name[4:9].lower()
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(name, str(folder))
    monkeypatch.delenv("HIVEBUS_URL", raising=False)
    monkeypatch.chdir(short_path)
    yield embedded.ensure("hb")
    embedded.stop("hb")


def test_an_embedded_server_that_its_user_weakened_is_noticed_by_a_script(
    embedded_server: embedded.Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hivebus.send("pm", "hello", from_agent="sender").durability == "fsync"
    weaken(embedded_server)
    assert hivebus.send("pm", "hello", from_agent="sender").durability == "memory"
    monkeypatch.setenv("HIVEBUS_DURABILITY", "fsync")
    with pytest.raises(DurabilityUnavailable, match="its appendfsync is everysec"):
        hivebus.send("pm", "hello", from_agent="sender")
    assert Places.of("hb").data_dir


def weaken(server: embedded.Instance) -> None:
    import redis

    with redis.Redis(unix_socket_path=server.socket) as client:
        client.config_set("appendfsync", "everysec")
