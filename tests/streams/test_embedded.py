"""The embedded server: many processes, one server, from the first of them until it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivebus.errors import Unavailable
from hivebus_redis import embedded
from hivebus_redis.embedded import lifecycle
from hivebus_redis.embedded.places import LONGEST_SOCKET_PATH

from .embedded_servers import (
    RACERS,
    START_AND_PRINT,
    WITHOUT_LOCKS,
    answer,
    client,
    empty_home,
    is_running,
    kill_all,
    mode,
    race,
    servers_in,
    starts,
)

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user who has no server yet; whatever was started is gone afterwards."""
    yield from empty_home(short_path, monkeypatch)


@pytest.fixture(params=["redis", "valkey"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of server in turn."""
    path: str = request.getfixturevalue(f"{request.param}_program")
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", path)
    return path


# --- Starting and attaching ---------------------------------------------------------------------


def test_the_first_starts_a_server_and_the_second_attaches() -> None:
    assert embedded.find("hb") is None

    first = embedded.ensure("hb")

    assert embedded.ensure("hb") == first
    assert embedded.find("hb") == first
    assert answer(first, "PING")
    assert servers_in(Path(first.data_dir)) == [first.pid]


def test_of_eight_racing_processes_exactly_one_starts_a_server(home: Path) -> None:
    pids = race(START_AND_PRINT)

    assert len(pids) == RACERS
    assert len(set(pids)) == 1
    assert servers_in(home) == [pids[0]]
    assert starts(home / "state/hivebus/race/server.log") == 1


def test_saboteur_without_locks_the_race_starts_several_servers(home: Path) -> None:
    log = home / "state/hivebus/race/server.log"
    for _ in range(10):
        race(WITHOUT_LOCKS + START_AND_PRINT)
        if starts(log) > 1:
            return
        kill_all(home)
        log.unlink(missing_ok=True)
    pytest.fail("eight processes without a lock never started two servers: the race test proves nothing")


def test_namespaces_have_servers_of_their_own() -> None:
    assert embedded.ensure("one").pid != embedded.ensure("two").pid


def test_two_homes_that_share_a_runtime_folder_have_servers_of_their_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded.ensure("hb")
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "other"))

    second = embedded.ensure("hb")

    assert first.pid != second.pid
    assert first.socket != second.socket


def test_the_server_outlives_its_starter_and_the_terminal_of_it() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", START_AND_PRINT + "sys.stdout.flush()\nimport time\ntime.sleep(600)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with starter:
        assert starter.stdin and starter.stdout
        starter.stdin.close()
        pid = int(starter.stdout.readline())
        # What a closed terminal does to everything that was started in it.
        os.killpg(starter.pid, signal.SIGHUP)
        starter.wait(timeout=30)

    found = embedded.find("race")
    assert found and found.pid == pid
    assert answer(found, "PING")


def test_find_loads_neither_redis_nor_asyncio_nor_pydantic_and_starts_nothing(home: Path) -> None:
    script = (
        "import sys\nbefore = set(sys.modules)\nfrom hivebus_redis.embedded import find\nprint(find('hb'))\n"
        "print(sorted({'redis', 'asyncio', 'pydantic', 'subprocess', 'tempfile'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout.split("\n")[:2] == ["None", "[]"]
    assert not (home / "state").exists()


# --- Where the socket is --------------------------------------------------------------------------


def test_the_socket_is_in_the_runtime_folder(home: Path) -> None:
    assert embedded.ensure("hb").socket.startswith(f"{home}/run/hivebus/")


@pytest.mark.parametrize("runtime", ["", "relative", "/does/not/exist", "{home}/" + "long" * 30])
def test_without_a_usable_runtime_folder_the_socket_is_in_a_private_temporary_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    runtime = runtime.format(home=home)
    if "long" in runtime:
        os.mkdir(runtime)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)

    running = embedded.ensure("n" * 63)

    folder = os.path.dirname(running.socket)
    assert os.path.basename(folder) == f"hivebus-{os.geteuid()}"
    assert mode(folder) == 0o700
    assert len(running.socket.encode()) <= LONGEST_SOCKET_PATH
    assert answer(running, "PING")


def test_everybody_follows_the_first_whatever_their_runtime_folder_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded.ensure("hb")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")

    assert embedded.ensure("hb") == first


# --- Ending ---------------------------------------------------------------------------------------


def test_stop_ends_it_and_keeps_the_messages(program: str) -> None:
    running = embedded.ensure("hb")
    with client(running) as before:
        before.xadd("work", {"n": 1})

    assert embedded.stop("hb") is True

    assert not is_running(running.pid)
    assert embedded.find("hb") is None
    assert embedded.stop("hb") is False
    with client(embedded.ensure("hb")) as after:
        assert after.xlen("work") == 1


def test_stop_without_a_server_creates_nothing(home: Path) -> None:
    assert embedded.stop("hb") is False
    assert not (home / "state").exists()


def test_stop_reaches_a_server_whose_socket_was_removed() -> None:
    running = embedded.ensure("hb")
    os.unlink(running.socket)

    assert embedded.stop("hb") is True
    assert not is_running(running.pid)


# --- In the foreground ------------------------------------------------------------------------------

SERVE = """
from hivebus_redis.embedded import lifecycle
raise SystemExit(lifecycle.serve("hb", announce=lambda running: print(running.pid, flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        found = embedded.find("hb")
        assert found and found.pid == pid
        with client(found) as before:
            before.xadd("work", {"n": 1})

        parent.send_signal(number)
        assert parent.wait(timeout=30) == 0

    assert not is_running(pid)
    with client(embedded.ensure("hb")) as after:
        assert after.xlen("work") == 1


def test_in_the_foreground_a_second_one_is_refused() -> None:
    running = embedded.ensure("hb")

    with pytest.raises(Unavailable, match=f"runs already, as process {running.pid}.*hivebus down"):
        lifecycle.serve("hb", announce=lambda _: None)
