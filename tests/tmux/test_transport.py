"""`tmux://` as a transport: it keeps what it declares, declares little, and is found by its URL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hivebus
from hivebus.errors import Refused
from hivebus.plugins import Plugins
from hivebus.testing import Conformance
from hivebus.testing.harness import fresh_name
from hivebus.transport import Endpoint, Published, Rendering, Transport
from hivebus_tmux.errors import PaneRefused
from hivebus_tmux.frames import legacy_text
from hivebus_tmux.text import fingerprint, said
from hivebus_tmux.transport import TmuxTransport

from .ground import Ground, message, until


@pytest.fixture(scope="module")
def shared_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("ground")) as ground:
        ground.open("keeps-the-session", command=["sleep", "1000"])
        yield ground


class TestSafe(Conformance):
    driver = "safe"

    @pytest.fixture(autouse=True)
    def on_shared_ground(self, shared_ground: Ground) -> None:
        self.ground = shared_ground

    def endpoint(self) -> Endpoint:
        return Endpoint(url=self.ground.url(driver=self.driver))

    def inbox(self) -> str:
        name = fresh_name()
        self.ground.open(name, command=["sleep", "1000"])
        return name


class TestLegacy(TestSafe):
    driver = "legacy"

    def inbox(self) -> str:
        name = fresh_name()
        # The legacy flow interrupts whatever runs in the window.
        self.ground.open(name)
        return name


async def test_it_promises_no_more_than_it_can_prove(ground: Ground) -> None:
    ground.open("frontend-agent")
    for driver in ("safe", "legacy"):
        capabilities = await ground.transport(driver=driver).connect()
        declared = {name for name, feature in capabilities.items() if feature}
        assert declared == {"evidence", "max_body", "max_batch"} | ({"order"} if driver == "safe" else set())
        assert (capabilities.evidence.value, capabilities.durability.value) == ("accepted", "none")


async def test_it_is_found_by_its_url_and_is_no_inbox_to_read(ground: Ground) -> None:
    transport = Plugins().transport(Endpoint(url=ground.url(driver="legacy")))
    assert isinstance(transport, TmuxTransport)
    assert isinstance(transport, Rendering) and transport.driver == "legacy"
    assert not isinstance(transport, Transport)


def test_a_plugin_that_is_not_used_imports_nothing() -> None:
    code = "import sys, hivebus_tmux.plugin; print({'libtmux', 'asyncio', 'hivebus_tmux.transport'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_sending_imports_no_libtmux_and_no_model() -> None:
    code = "import sys, hivebus_tmux.transport; print({'libtmux', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


async def test_a_fingerprint_is_that_of_the_text_by_both_drivers(ground: Ground) -> None:
    for content in ("text\twith\x1b control\r\n", {"any": ["json", None]}):
        item = message("frontend-agent", content)
        safe, legacy = (ground.transport(driver=driver) for driver in ("safe", "legacy"))
        assert safe.fingerprint(item.data) == legacy.fingerprint(item.data) == fingerprint(said(item.data).text)


async def test_a_bus_sends_through_it(ground: Ground) -> None:
    window = ground.open("frontend-agent")
    async with hivebus.Bus(ground.url(), agent="pm-agent") as bus:
        receipt = await bus.send("frontend-agent", "hello", message_type="question")
        assert (receipt.state, receipt.evidence, dict(receipt.legs)) == ("stored", "accepted", {"tmux": "accepted"})
        with pytest.raises(Refused, match="no window for nobody"):
            await bus.send("nobody", "hello")
        with pytest.raises(hivebus.HivebusError, match="delay"):
            await bus.send("frontend-agent", "later", delay=60)
        await bus.send("frontend-agent", "in time", ttl=60)
    await until(lambda: len(window.ids()) == 2, "both arrive")
    assert [(read.sender, read.message_type, read.text) for read in window.messages()] == [
        ("pm-agent", "question", "hello"),
        ("pm-agent", "information_share", "in time"),
    ]


async def test_senders_of_one_bus_share_a_paste(ground: Ground) -> None:
    window = ground.open("frontend-agent")
    async with hivebus.Bus(ground.url(), agent="pm-agent") as bus:
        receipts = await asyncio.gather(*(bus.send("frontend-agent", f"{number}") for number in range(30)))
    await until(lambda: len(window.ids()) == 30, "all arrive")
    assert sorted(window.ids()) == sorted(receipt.message_id for receipt in receipts)
    assert window.bytes().count(b"\r") <= 4


# --- What the legacy driver says --------------------------------------------------------------------


async def test_the_legacy_text_is_the_predecessors_and_a_last_line() -> None:
    item = message("frontend-agent", "Sprint planning needed")
    assert legacy_text(item.message_id, said(item.data)) == (
        "🤖 MESSAGE FROM PM-AGENT:\n\nSprint planning needed\n\n"
        f"Please respond when convenient. This message was sent automatically.\n[hb:{item.message_id}]"
    )


@pytest.mark.parametrize(
    ("to", "content", "reason"),
    [
        ("nobody", "hello", "no_window"),
        ("frontend-agent", "x" * 17_000, "too_large"),
        ("frontend-agent", "x" * 200_000, "too_large"),
        ("frontend-agent", "a\0b", "not_text"),
    ],
)
async def test_what_the_legacy_flow_notices_is_refused(ground: Ground, to: str, content: str, reason: str) -> None:
    window = ground.open("frontend-agent")
    (result,) = await ground.transport(driver="legacy").publish([message(to, content)])
    assert isinstance(result, PaneRefused) and result.reason == reason
    assert window.ids() == []


async def test_what_the_legacy_flow_does_not_notice_is_claimed(ground: Ground) -> None:
    window = ground.open("frontend-agent")
    ground.tmux("select-pane", "-d", "-t", window.pane)
    neighbour = ground.open_plain("agent-pm-2")
    results = await ground.transport(driver="legacy").publish([message("frontend-agent", "dropped")])
    results += await ground.transport(driver="legacy").publish([message("pm", "a beginning of another name")])
    assert list(results) == [Published("stored")] * 2
    await until(lambda: neighbour.ids(), "the neighbour gets it")
    assert window.bytes() == b""


async def test_the_legacy_flow_on_a_server_that_stands_still_is_unknown(ground: Ground, tmp_path: Path) -> None:
    ground.open("frontend-agent")
    with ground.stopped():
        (result,) = await ground.transport(driver="legacy").publish([message("frontend-agent", "hello")])
    assert getattr(result, "reason", None) == "timeout"
    assert getattr(result, "repeatable", None) is False
