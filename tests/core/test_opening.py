"""Connecting: what was asked for is there, or it fails at once and says what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hivebus import opening
from hivebus.bus import Bus
from hivebus.errors import DurabilityUnavailable, NotPermitted, Unavailable, Unsupported
from hivebus.hookspecs import hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import ABSENT, Capabilities, Scheme, native

from .flaky import FlakyTransport, Serving


def durable(level: str) -> Callable[[Capabilities], Capabilities]:
    return lambda capabilities: replace(capabilities, durability=native(level))


async def test_what_is_required_and_there_is_connected_to() -> None:
    async with Bus("memory://", agent="pm", require=("fencing", "evidence>=acked", "priority>=5")) as bus:
        assert bus.capabilities.fencing


async def test_what_is_required_and_missing_fails_at_connect_and_is_listed() -> None:
    transport = FlakyTransport(capable=lambda capabilities: replace(capabilities, fencing=ABSENT, replay=ABSENT))
    with pytest.raises(Unsupported, match="does not offer: fencing, replay"):
        async with Bus("memory://", agent="pm", require=("fencing", "ttl", "replay"), plugins=[Serving(transport)]):
            pass
    assert transport.closed == 1


@pytest.mark.parametrize(
    ("wanted", "given", "enough"),
    [
        ("memory", "memory", True),
        ("memory", "fsync", True),
        ("fsync", "fsync", True),
        ("fsync", "memory", False),
        ("replicated", "fsync", False),
        ("memory", None, False),
        (None, None, True),
    ],
)
async def test_a_level_of_durability_is_given_or_refused_at_connect(
    wanted: Any, given: str | None, enough: bool
) -> None:
    transport = FlakyTransport(capable=durable(given)) if given else FlakyTransport()
    bus = Bus("memory://", agent="pm", durability=wanted, plugins=[Serving(transport)])
    if enough:
        async with bus:
            assert (await bus.send("dev", "x")).durability == (given or "none")
    else:
        with pytest.raises(DurabilityUnavailable, match=f"not '{wanted}'"):
            async with bus:
                pass
        assert transport.closed == 1


async def test_a_level_from_the_environment_is_insisted_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_DURABILITY", "fsync")
    with pytest.raises(DurabilityUnavailable):
        async with Bus("memory://", agent="pm"):
            pass


async def test_a_server_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(FlakyTransport):
        async def connect(self) -> Capabilities:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(opening, "TIMEOUT", 0.1)
    silent = Silent()
    with pytest.raises(Unavailable, match=r"memory://:\*\*\*@host did not answer within 0.1 s"):
        async with Bus("memory://:secret@host", agent="pm", plugins=[Serving(silent)]):
            pass
    assert silent.closed == 1


async def test_a_server_that_refuses_is_passed_on_and_closed() -> None:
    class Locked(FlakyTransport):
        async def connect(self) -> Capabilities:
            raise NotPermitted("wrong password")

    locked = Locked()
    with pytest.raises(NotPermitted, match="wrong password"):
        async with Bus("memory://", agent="pm", plugins=[Serving(locked)]):
            pass
    assert locked.closed == 1


async def test_without_a_url_a_line_on_stderr_says_which_server_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    class Embedded:
        @hookimpl
        def register_transports(self, register: Callable[[Scheme], None]) -> None:
            register(Scheme(name="embedded", transport=MemoryTransport))

    async with Bus(agent="pm", namespace="two", plugins=[Embedded()]) as bus:
        assert (await bus.send("dev", "x")).legs == {"redis": "accepted"}
    output, (notice, *more) = (told := capsys.readouterr()).out, told.err.splitlines()
    assert (output, more) == ("", [])
    assert notice.startswith("hivebus: no URL configured, using the embedded server of namespace two")
    async with Bus("memory://", agent="pm"):
        pass
    assert capsys.readouterr() == ("", "")


async def test_the_url_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_URL", "memory://")
    async with Bus(agent="pm") as bus:
        assert bus.url == "memory://"


async def test_namespaces_are_buses_of_their_own() -> None:
    async with Bus("memory://", agent="pm") as one, Bus("memory://", agent="dev", namespace="other") as other:
        await one.send("dev", "x")
        assert await other.take() is None
