"""The server of a drill: its own, in the drill's folder, killed and paused and started again on the same data."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hivebus.errors import Unavailable
from hivebus_redis.append_only import cut_unfinished
from hivebus_redis.drill.disk import Disk

STARTUP_SECONDS = 30.0
CLIENT_SECONDS = 10.0
LEVELS = {"fsync": ("yes", "always"), "memory": ("yes", "everysec")}
"""What a durability level means as ``appendonly`` and ``appendfsync``."""


class DrillServer:
    """One server process on a unix socket.

    Args:
        program: ``redis-server`` or ``valkey-server``.
        folder: for its files; short enough for a socket.
        level: ``fsync`` or ``memory``.
        disk: what stands between it and its disk, where that could be built.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        level: str = "fsync",
        disk: Disk | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        folder.mkdir()
        self.data = folder
        self.disk = disk
        self.socket = str(folder / "server.sock")
        self.url = f"unix://{self.socket}"
        self.log = folder / "server.log"
        append, fsync = LEVELS[level]
        self._words = [program, "--port", "0", "--unixsocket", self.socket, "--dir", str(folder), "--save", ""]
        self._words += ["--appendonly", append, "--appendfsync", fsync, "--maxmemory-policy", "noeviction", *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on what its folder holds, without what it has not finished, and return when it answers."""
        cut_unfinished(self.data)
        environment = {**os.environ, "LC_ALL": "C", **(self.disk.environment if self.disk else {})}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
                raise Unavailable(f"the drill's server did not start:\n{last}", hint=f"look at {self.log}")
            time.sleep(0.005)

    def kill(self) -> None:
        """End it with kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it answer nobody; its connections stay."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    @property
    def is_up(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def client(self) -> redis.Redis:
        """Return a plain client, to look behind hivebus; close it."""
        return redis.Redis(
            unix_socket_path=self.socket,
            decode_responses=True,
            encoding_errors="replace",
            socket_timeout=CLIENT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._signal(number)
            self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(1)
                asking.connect(self.socket)
                asking.sendall(b"PING\r\n")
                answer = asking.recv(100)
        except OSError:
            return False
        return bool(answer) and not answer.startswith(b"-LOADING")
