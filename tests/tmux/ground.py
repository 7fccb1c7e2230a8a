"""A private tmux server whose windows write down every byte that their programs read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from hivebus import envelope
from hivebus.transport import Endpoint, Outgoing, Published
from hivebus_tmux.frames import Read
from hivebus_tmux.place import Place, parse_place
from hivebus_tmux.stream import Stream
from hivebus_tmux.transport import MAX_TEXT, TmuxTransport, open_tmux
from hivebus_tmux.windows import open_window

READER = Path(__file__).with_name("reader.py")
PATIENCE = 30.0
"""Seconds for what must happen; only a failing test waits for so long."""


class Window:
    """A window and what its program has read."""

    def __init__(self, pane: str, log: Path) -> None:
        self.pane = pane
        self.log = log

    def reads(self) -> list[bytes]:
        """Return what each single read returned."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [bytes.fromhex(json.loads(line)["read"]) for line in lines[1:]]

    def bytes(self) -> bytes:
        return b"".join(self.reads())

    def messages(self) -> list[Read]:
        stream = Stream()
        return [*stream.feed(self.bytes()), *stream.finish()]

    def ids(self) -> list[str]:
        return [read.message_id for read in self.messages()]

    def is_at_rest(self) -> bool:
        """Tell whether the last that was read is an Enter."""
        return self.bytes().endswith(b"\r")

    def is_ready(self) -> bool:
        return self.log.exists() and self.log.read_text().count("\n") > 0


class Ground:
    """One server and its session ``agent-hive``."""

    session = "agent-hive"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = f"hivebus-{os.getpid()}-{os.urandom(4).hex()}"
        self._config = folder / "tmux.conf"
        self._config.write_text("")
        self._transports: list[TmuxTransport] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True, check=False, timeout=PATIENCE)
        Path(os.environ.get("TMUX_TMPDIR", "/tmp"), f"tmux-{os.getuid()}", self.socket).unlink(missing_ok=True)

    def url(self, **options: str) -> str:
        # Programs of the tests redraw nothing, so a short pause tells a paste from an Enter.
        options = {"socket": self.socket, "settle": "30ms", **options}
        return f"tmux://{self.session}?" + "&".join(f"{name}={quote(value)}" for name, value in options.items())

    def place(self, **options: str) -> Place:
        return parse_place(self.url(**options))

    def transport(self, **options: str) -> TmuxTransport:
        self._transports.append(open_tmux(Endpoint(url=self.url(**options))))
        return self._transports[-1]

    async def attached(self, agent: str, **options: str) -> TmuxTransport:
        """Return one whose client stays, after some messages to an agent."""
        transport = self.transport(**options)
        await self.attach(transport, agent)
        return transport

    async def attach(self, transport: TmuxTransport, agent: str) -> None:
        """Send messages to an agent until a client stays."""
        while not transport.is_attached:
            assert await transport.publish([message(agent, "before")]) == [Published("stored")]
            await asyncio.sleep(0.01)

    async def leave(self) -> None:
        """Close all transports, and see that tmux knows of none of them any more."""
        for transport in self._transports:
            await transport.close()
        await until(lambda: not self._has_clients(), "no client is left behind")

    def tmux(self, *words: str) -> str:
        """Run a tmux command and return what it printed."""
        command = ["tmux", "-u", "-L", self.socket, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def open(self, agent: str, *, mirror: bool = False, command: Sequence[str] | None = None) -> Window:
        """Open a window; by default with the program that writes down what it reads, once that is ready."""
        log = self.folder / f"{os.urandom(4).hex()}.log"
        command = self.reader(log) if command is None else command
        pane = open_window(self.place(), agent, command, mirror=mirror, config=self._config)
        window = Window(pane, log)
        if command[-1] == str(log):
            wait_for(window.is_ready, f"the program of {agent} starts")
        return window

    def open_plain(self, name: str, command: Sequence[str] | None = None) -> Window:
        """Open a window as a person does: with a name, and without a pin."""
        window = self.open(name, command=command)
        self.tmux("rename-window", "-t", window.pane, name)
        self.unpin(window)
        return window

    def reader(self, log: Path) -> list[str]:
        return [sys.executable, "-IS", str(READER), str(log)]

    def unpin(self, window: Window) -> None:
        for option in ("@hivebus_agent", "@hivebus_mirror", "@hivebus_pane_pid"):
            self.tmux("set-option", "-pu", "-t", window.pane, option)

    def pid(self) -> int:
        return int(self.tmux("display-message", "-p", "#{pid}"))

    def version(self) -> tuple[int, ...]:
        """Return (3, 3) for ``tmux 3.3a``."""
        return tuple(int(number) for number in re.findall(r"\d+", self.tmux("-V"))[:2])

    def is_alive(self) -> bool:
        command = ["tmux", "-L", self.socket, "list-sessions"]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0

    def buffers(self) -> str:
        return self.tmux("list-buffers")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server stand still for a while."""
        pid = self.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _has_clients(self) -> bool:
        # A server that ends at this moment fails, and has none.
        command = ["tmux", "-L", self.socket, "list-clients"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)
        return done.returncode == 0 and bool(done.stdout.strip())


def message(to: str, content: object, *, sender: str = "pm-agent", delay: float = 0) -> Outgoing:
    """Return an encoded message."""
    agent = to.partition("~")[0]
    made = envelope.compose(from_agent=sender, to_agent=agent, content=content, message_type="task_assignment")
    key = f"agent.{agent}.task_assignment"
    return Outgoing(to, made.message_id, key, 2, delay, None, envelope.encode(made, limit=2 * MAX_TEXT))


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.01)


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        await asyncio.sleep(0.01)


async def shows(window: Window, *texts: str) -> None:
    """Wait until the window's program has read exactly these messages, each with its Enter."""
    await until(
        lambda: [read.text for read in window.messages()] == [*texts] and window.is_at_rest(), f"{texts} arrive"
    )
