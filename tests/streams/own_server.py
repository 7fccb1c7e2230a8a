"""A server of a test's own: with settings of its own, killed, paused and started again on the same folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis

STARTUP_SECONDS = 30
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class OwnServer:
    """One server process on a unix socket, in a folder that stays until `remove`.

    Args:
        program: ``redis-server`` or ``valkey-server``.
        settings: words of its command line.
        config: what stands in its configuration file; "" for a server that has none.
    """

    def __init__(self, program: str, *settings: str, config: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hb-own-"))
        self.socket = str(self.folder / "server.sock")
        self.url = f"unix://{self.socket}"
        self._program = program
        self._words = ["--port", "0", "--unixsocket", self.socket, "--dir", str(self.folder), "--save", "", *settings]
        self._process: subprocess.Popen[bytes] | None = None
        self.config = self.configure(config) if config else None

    def configure(self, text: str, *, name: str = "server.conf") -> str:
        """Write a configuration file for the next start, and return its path."""
        self.config = str(self.folder / name)
        Path(self.config).write_text(text)
        return self.config

    def start(self, *settings: str, patient: bool = True) -> None:
        """Start it on what its folder holds, with more *settings*; if *patient*, return when it answers."""
        file = [self.config] if self.config else []
        with (self.folder / "server.log").open("ab") as log:
            words = [self._program, *file, *self._words, *settings]
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        if patient:
            self.await_answer()

    def await_answer(self) -> None:
        """Return when it takes commands."""
        assert self._process is not None
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{(self.folder / 'server.log').read_text()}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut of the process would: kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it from answering; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Return a plain client that sees everything; close it."""
        return redis.Redis(unix_socket_path=self.socket, decode_responses=True)

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def is_loading(self) -> bool:
        """Tell whether it says that it is still loading; a client library would ask until it is not."""
        return self._answer().startswith(b"-LOADING")

    def _answers(self) -> bool:
        answer = self._answer()
        return bool(answer) and not answer.startswith(b"-LOADING")

    def _answer(self) -> bytes:
        # Asked by hand: a server that wants a password answers too, with an error.
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(1)
                asking.connect(self.socket)
                asking.sendall(b"PING\r\n")
                return asking.recv(100)
        except OSError:
            return b""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
