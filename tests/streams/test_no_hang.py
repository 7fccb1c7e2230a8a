"""Whatever stops answering, every call comes back: with an error of ours, within its time and a second.

All times are shortened to a fifth, so a wait that nobody bounds stands out.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

import hivebus
from hivebus import inflow, outbox, settler, sync
from hivebus.bus import Bus
from hivebus.delivery import Handed
from hivebus.errors import HivebusError, Unavailable, Unknown
from hivebus.message import Message
from hivebus_redis import connection, errors, one_shot, reader

from .own_server import OwnServer
from .proxy import Proxy

LIMIT = 2.0
"""Seconds that any call may take, besides what it was asked to wait."""
MARGIN = 1.0
WAIT = 0.5


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", LIMIT)
    monkeypatch.setattr(sync, "GIVE_UP_AFTER", LIMIT)
    monkeypatch.setattr(settler, "ANSWER_WITHIN", LIMIT)
    monkeypatch.setattr(inflow, "LONGEST_PAUSE", 0.4)
    monkeypatch.setattr(reader, "CLOSE_TIMEOUT", 0.4)
    monkeypatch.setattr(one_shot, "REPLY_TIMEOUT", 1.0)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.4)
    monkeypatch.setattr(errors.while_away, "__kwdefaults__", {"patience": LIMIT})
    monkeypatch.setattr(connection.Server.channel, "__kwdefaults__", {"reply_timeout": 1.0})


@dataclass(frozen=True)
class Scene:
    """A bus that is connected, with a message in its hands, and a way to silence its server."""

    bus: Bus
    handed: Handed
    url: str
    namespace: str
    silence: Callable[[], object]


CALLS: dict[str, Callable[[Scene], Awaitable[Any]]] = {
    "send": lambda scene: scene.bus.send("pm", "hello"),
    "send to many": lambda scene: scene.bus.send([f"agent-{n}" for n in range(20)], "hello"),
    "send_many": lambda scene: raised(scene.bus.send_many([message_to(f"agent-{n}") for n in range(20)])),
    "reply": lambda scene: scene.bus.reply(scene.handed.message, "yes"),
    "status": lambda scene: scene.bus.status("m-1"),
    "status of an agent": lambda scene: scene.bus.status("m-1", agent="pm"),
    "queue": lambda scene: scene.bus.queue("pm"),
    "cancel": lambda scene: scene.bus.cancel("m-1"),
    "take": lambda scene: scene.bus.take(wait=WAIT),
    "ack": lambda scene: scene.handed.ack(),
    "extend": lambda scene: scene.handed.extend(),
    "the directory, read": lambda scene: scene.bus._transport.read("agents"),
    "the directory, written": lambda scene: scene.bus._transport.write("agents", "pm", {"host": "here"}),
    "connecting": lambda scene: Bus(scene.url, agent="new", namespace=scene.namespace).__aenter__(),
    "hivebus.send": lambda scene: asyncio.to_thread(send_by_script, scene),
    "hivebus.status": lambda scene: asyncio.to_thread(hivebus.status, "m-1", url=scene.url),
}


def message_to(agent: str) -> Message:
    return Message(from_agent="pm", to_agent=agent, body={"content": "x"})


def send_by_script(scene: Scene) -> object:
    return hivebus.send("pm", "hello", from_agent="sender", url=scene.url, namespace=scene.namespace)


async def raised(results: Awaitable[list[Any]]) -> Any:
    """Raise what `send_many` returns."""
    raise next(each for each in await results if isinstance(each, HivebusError))


async def outcome(call: Awaitable[Any]) -> tuple[float, object]:
    """Return how long a call took and what came of it; one that does not come back is given up."""
    began = monotonic()
    try:
        async with asyncio.timeout(5 * LIMIT):
            result: object = await call
    except (HivebusError, TimeoutError) as error:
        result = error
    return monotonic() - began, result


async def set_scene(url: str, silence: Callable[[], object]) -> AsyncIterator[Scene]:
    namespace = f"quiet-{id(silence):x}"
    bus = Bus(url, agent="pm", namespace=namespace, lease=60)
    async with bus:
        await bus.send("pm", "hello", message_id="m-1")
        deliveries = bus.consume()
        yield Scene(bus, await anext(deliveries), url, namespace, silence)
        began = monotonic()
        with suppress(HivebusError):
            await deliveries.aclose()
    assert monotonic() - began < LIMIT + MARGIN, "leaving takes its time too"


@pytest.fixture(params=["a line that swallows", "a paused redis", "a paused valkey"])
async def scene(request: pytest.FixtureRequest, make_server: Callable[..., OwnServer]) -> AsyncIterator[Scene]:
    """A bus on a server that will fall silent in one way or another."""
    server = make_server(kind="valkey" if "valkey" in request.param else "redis")
    with ExitStack() as stack:
        if "swallows" in request.param:
            line = Proxy(server.socket)
            stack.callback(line.close)
            url, silence = line.url, line.swallow_everything
        else:
            stack.callback(server.resume)
            url, silence = server.url, server.pause
        async for each in set_scene(url, silence):
            yield each


async def test_every_call_comes_back_in_time_with_an_error_of_ours(scene: Scene) -> None:
    scene.silence()

    outcomes = dict(zip(CALLS, await asyncio.gather(*(outcome(call(scene)) for call in CALLS.values())), strict=True))

    allowed = {"take": LIMIT + WAIT + MARGIN}
    late = {name: took for name, (took, _) in outcomes.items() if took > allowed.get(name, LIMIT + MARGIN)}
    assert late == {}
    # Nothing came in time for who takes; everything else failed.
    strange = {name: result for name, (_, result) in outcomes.items() if not isinstance(result, (Unavailable, Unknown))}
    assert strange == {} or strange == {"take": None}


async def test_saboteur_a_call_without_a_bound_is_late(
    make_server: Callable[..., OwnServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.Server.channel, "__kwdefaults__", {"reply_timeout": 1e6})
    monkeypatch.setattr(outbox, "GIVE_UP_AFTER", 1e6)
    server = make_server()
    async for scene in set_scene(server.url, server.pause):
        scene.silence()
        sending = asyncio.ensure_future(scene.bus.send("pm", "hello"))
        await asyncio.wait([sending], timeout=LIMIT + MARGIN)
        assert not sending.done()
        server.resume()
        assert (await sending).state == "stored"


# --- Connecting to nowhere -------------------------------------------------------------------------------


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A URL that answers no attempt to connect: whoever listens there has no room for more."""
    with socket.socket() as door, ExitStack() as stack:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(door.getsockname())
        yield f"redis://127.0.0.1:{door.getsockname()[1]}"


async def test_connecting_to_nowhere_ends_in_time(black_hole: str) -> None:
    calls = (
        Bus(black_hole, agent="new").__aenter__(),
        asyncio.to_thread(hivebus.send, "pm", "hello", from_agent="sender", url=black_hole),
        asyncio.to_thread(hivebus.receive, "pm", url=black_hole, wait=WAIT),
    )
    for took, result in await asyncio.gather(*(outcome(call) for call in calls)):
        assert took < LIMIT + MARGIN and isinstance(result, Unavailable)


COMMAND = """
import sys
from hivebus import sync
from hivebus_redis import one_shot, resp
sync.GIVE_UP_AFTER, resp.CONNECT_TIMEOUT, one_shot.REPLY_TIMEOUT = 2.0, 0.4, 1.0
from hivebus.cli import main
main()
"""


@pytest.mark.parametrize("where", ["nowhere", "a paused server"])
async def test_a_command_that_sends_ends_in_time(
    where: str, black_hole: str, make_server: Callable[..., OwnServer]
) -> None:
    url = black_hole
    if where == "a paused server":
        server = make_server()
        server.pause()
        url = server.url
    words = [sys.executable, "-c", COMMAND, "send", "pm", "hello", "-a", "sender", "--url", url]
    began = monotonic()
    done = await asyncio.to_thread(subprocess.run, words, env={}, capture_output=True, text=True, timeout=60)
    took = monotonic() - began

    assert done.returncode == (69 if where == "nowhere" else 75), done.stderr
    assert took < LIMIT + MARGIN + 1, "and a second for the process"
