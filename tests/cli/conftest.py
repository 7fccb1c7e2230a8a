"""The real `hivebus` as processes, each test on a bus of its own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

PROGRAM = Path(sys.executable).with_name("hivebus")
PATIENCE = 60


@dataclass(frozen=True)
class Answer:
    """What a process printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def rows(self) -> list[list[str]]:
        """The tab-separated rows on stdout."""
        return [line.split("\t") for line in self.out.splitlines()]


class Cli:
    """Runs `hivebus` in an environment that holds nothing of the machine's user."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        self.env = dict(env)
        self.cwd = cwd

    def __call__(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Answer:
        """Run one command to its end."""
        done = subprocess.run(
            [PROGRAM, *args],
            input=stdin,
            capture_output=True,
            env={**self.env, **(env or {})},
            cwd=self.cwd,
            timeout=PATIENCE,
            check=False,
        )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Answer:
        """Run one command that must succeed."""
        answer = self(*args, stdin=stdin, env=env)
        assert answer.code == 0, f"hivebus {args} exited with {answer.code}: {answer.err}"
        return answer

    def send(self, to: str, text: str, *options: str) -> str:
        """Send a message from `sender` and return its id."""
        answer = self.ok("send", to, text, "--agent", "sender", "--json", *options)
        message_id: str = answer.json["message_id"]
        return message_id

    def start(self, *args: str, sabotage: str = "") -> subprocess.Popen[str]:
        """Start a command that goes on; stop it yourself. *sabotage* is Python that breaks something first."""
        script = f"{sabotage}\nfrom hivebus.cli import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", script, *args] if sabotage else [PROGRAM, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.cwd,
            text=True,
        )

    @staticmethod
    def end(process: subprocess.Popen[str], number: int = signal.SIGINT) -> Answer:
        """Send a signal and return how the process ended."""
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
        return Answer(process.returncode, out, err)

    @staticmethod
    def eventually(condition: Callable[[], object], *, what: str) -> None:
        """Return when *condition* holds; fail when it never does."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"never happened: {what}"
            time.sleep(0.05)

    def queue(self, agent: str) -> Any:
        """Return what `hivebus queues` counts for one agent; None when it has no inbox."""
        return next((each for each in self.ok("queues", "--json").json["queues"] if each["agent"] == agent), None)

    def on_terminal(self, *args: str, env: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Run one command with a terminal as its stdout; return its code and what the terminal was sent."""
        master, slave = pty.openpty()
        with subprocess.Popen(
            [PROGRAM, *args],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=subprocess.PIPE,
            env={**self.env, **(env or {})},
            cwd=self.cwd,
        ) as process:
            os.close(slave)
            shown = b"".join(_chunks(master))
            process.communicate(timeout=PATIENCE)
        os.close(master)
        return process.returncode, shown


@pytest.fixture(scope="session")
def plugin_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of the plugin index for all tests, as a user has one for all commands."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def offline(tmp_path: Path, plugin_cache: Path) -> Cli:
    """`hivebus` with nothing configured; whoever starts a server with it stops it."""
    kept = ("PATH", "LANG", "COVERAGE_PROCESS_CONFIG")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    folders = {"HOME": tmp_path, "XDG_CONFIG_HOME": tmp_path / "config", "XDG_CACHE_HOME": plugin_cache}
    return Cli({**env, **{name: str(folder) for name, folder in folders.items()}}, cwd=tmp_path)


@pytest.fixture
def hivebus(offline: Cli, redis_server: Any) -> Cli:
    """`hivebus` on a bus of its own, on the private server of the session."""
    bus = {"HIVEBUS_URL": redis_server.url, "HIVEBUS_NAMESPACE": f"t{uuid4().hex[:12]}"}
    return Cli({**offline.env, **bus}, cwd=offline.cwd)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder that an agent works in."""
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


@pytest.fixture
def behind(redis_server: Any) -> Iterator[redis.Redis]:
    """A plain client of the same server, to look behind hivebus or to break something."""
    with redis_server.client() as client:
        yield client


def _chunks(master: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            return  # the other side of the terminal is closed
        if not chunk:
            return
        yield chunk
