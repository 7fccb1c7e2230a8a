"""The embedded server: many processes, one server, and nothing lost when it is killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from hivebus.errors import Unavailable
from hivebus_redis import embedded
from hivebus_redis.embedded import lifecycle, locks
from hivebus_redis.embedded.places import LONGEST_SOCKET_PATH, Places

pytestmark = pytest.mark.timeout(90)
RACERS = 8
START_AND_PRINT = """
import sys
from hivebus_redis import embedded
sys.stdin.read(1)
print(embedded.ensure("race").pid)
"""
WITHOUT_LOCKS = "import fcntl\nfcntl.flock = lambda *_: None\n"


@pytest.fixture(autouse=True)
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user who has no server yet; whatever was started is gone afterwards."""
    (short_path / "run").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(short_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path / "run"))
    monkeypatch.delenv("HIVEBUS_SERVER_BIN", raising=False)
    yield short_path
    kill_all(short_path)


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


# --- What it promises -----------------------------------------------------------------------------


def test_what_was_written_survives_kill_minus_nine(program: str) -> None:
    first = embedded.ensure("hb")
    with client(first) as before:
        before.xgroup_create("work", "main", id="0", mkstream=True)
        written = [before.xadd("work", {"n": n}) for n in range(100)]
        before.xreadgroup("main", "worker", {"work": ">"}, count=10)
    kill(first)

    second = embedded.ensure("hb")

    assert second.pid != first.pid
    assert second.server == first.server
    with client(second) as after:
        assert [each for each, _ in after.xrange("work")] == written
        assert after.xpending("work", "main")["pending"] == 10


def test_it_is_attested_as_fsync_and_configured_so(program: str) -> None:
    running = embedded.ensure("hb")

    assert running.durability == "fsync"
    assert json.loads(Path(running.data_dir, "instance.json").read_text())["durability"] == "fsync"
    with client(running) as behind:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }
        assert {name: behind.config_get(name)[name] for name in wanted} == wanted


def test_a_server_that_does_not_sync_is_not_attested_as_one_that_does() -> None:
    running = embedded.ensure("hb")
    with client(running) as behind:
        behind.config_set("appendfsync", "everysec")
    Path(running.data_dir, "instance.json").unlink()

    assert embedded.ensure("hb").durability == "memory"


def test_only_its_user_can_reach_the_data_and_the_socket() -> None:
    running = embedded.ensure("hb")

    assert mode(running.data_dir) == 0o700
    assert mode(os.path.dirname(running.socket)) == 0o700
    assert mode(running.socket) == 0o700


def test_a_data_folder_that_others_could_read_is_closed() -> None:
    running = embedded.ensure("hb")
    embedded.stop("hb")
    os.chmod(running.data_dir, 0o755)

    embedded.ensure("hb")

    assert mode(running.data_dir) == 0o700


def test_the_version_and_the_program_are_told(program: str) -> None:
    running = embedded.ensure("hb")

    assert os.path.samefile(running.server, program)
    assert running.version.split()[0] == Path(program).name.removesuffix("-server")
    assert abs(time.time() - running.started) < 60


def test_a_locale_that_is_not_installed_does_not_keep_it_from_starting(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")

    assert answer(embedded.ensure("hb"), "PING")


def test_paths_with_blanks_and_quotes_are_served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / 'a "b" \\n ü'))
    runtime = home / "r 100%"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    running = embedded.ensure("hb")

    with redis.Redis.from_url(running.url) as behind:
        assert behind.ping()
    assert embedded.stop("hb")


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


# --- After an accident ------------------------------------------------------------------------------


def test_a_removed_socket_is_healed_and_the_data_are_never_open_twice(home: Path) -> None:
    first = embedded.ensure("hb")
    with client(first) as before:
        before.xadd("work", {"n": 1})
    os.unlink(first.socket)

    second = embedded.ensure("hb")

    assert servers_in(home) == [second.pid]
    with client(second) as after:
        assert after.xlen("work") == 1


def test_saboteur_without_locks_a_removed_socket_opens_the_data_twice(home: Path) -> None:
    first = embedded.ensure("race")
    os.unlink(first.socket)

    run(WITHOUT_LOCKS + START_AND_PRINT)

    assert len(servers_in(home)) == 2


def test_a_record_of_a_dead_server_is_not_believed(home: Path) -> None:
    running = embedded.ensure("hb")
    kill(running)
    # Its number belongs to somebody else by now: this very process.
    rewrite_record(running, pid=os.getpid())

    assert embedded.find("hb") is None
    assert embedded.stop("hb") is False
    assert embedded.ensure("hb").pid != os.getpid()


def test_a_record_with_the_wrong_process_is_corrected() -> None:
    running = embedded.ensure("hb")
    rewrite_record(running, pid=os.getpid())

    assert embedded.ensure("hb").pid == running.pid
    found = embedded.find("hb")
    assert found and found.pid == running.pid


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"unknown": 1}'])
def test_a_broken_record_is_written_anew(text: str) -> None:
    running = embedded.ensure("hb")
    record = Path(running.data_dir, "instance.json")
    record.write_text(text)

    assert embedded.find("hb") is None
    assert embedded.ensure("hb").pid == running.pid
    assert embedded.find("hb")


def test_a_server_whose_starter_died_while_it_was_loading_is_waited_for(
    home: Path, redis_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", redis_program)
    running = embedded.ensure("hb")
    with client(running) as before:
        for n in range(500):
            before.xadd("work", {"n": n})
    embedded.stop("hb")
    places = Places.of("hb")
    os.unlink(places.record)
    with locks.hold(places.living, seconds=5) as living:
        # Two milliseconds per entry, so that there is something to wait for.
        slow = [redis_program, places.config, "--daemonize", "yes", "--key-load-delay", "2000"]
        subprocess.run(slow, pass_fds=[living], stdout=subprocess.DEVNULL, check=True, timeout=30)

    revived = embedded.ensure("hb")

    assert servers_in(home) == [revived.pid]
    with client(revived) as after:
        assert after.xlen("work") == 500


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


# --- Helpers ----------------------------------------------------------------------------------------


def race(script: str) -> list[int]:
    """Start several processes, let them go at once, and return the pid that each of them got."""
    with ExitStack() as stack:
        racers = [stack.enter_context(racer_of(script)) for _ in range(RACERS)]
        for racer in racers:
            assert racer.stdin
            racer.stdin.write(b"\n")
            racer.stdin.flush()
        outputs = [racer.communicate(timeout=60)[0] for racer in racers]
    return [int(output) for output in outputs if output.strip()]


def racer_of(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], input="\n", capture_output=True, text=True, check=True, timeout=60
    ).stdout


def starts(log: Path) -> int:
    return log.read_text().count("just started") if log.exists() else 0


def servers_in(folder: Path) -> list[int]:
    """Return the processes that have a file open below *folder*: what ps would not tell for sure."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        if any(each.startswith(f"{folder}/") for each in open_files(entry / "fd")):
            found.append(int(entry.name))
    return found


def open_files(descriptors: Path) -> Iterator[str]:
    # Files and processes go away while they are looked at.
    with suppress(OSError):
        for each in descriptors.iterdir():
            with suppress(OSError):
                yield os.readlink(each)


def kill_all(folder: Path) -> None:
    def none_left() -> bool:
        pids = servers_in(folder)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(none_left)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def kill(running: embedded.Instance) -> None:
    os.kill(running.pid, signal.SIGKILL)
    # A dying process keeps its socket open for a moment.
    wait_until(lambda: embedded.find(running.namespace) is None)


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def rewrite_record(running: embedded.Instance, **changes: object) -> None:
    record = Path(running.data_dir, "instance.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


def client(running: embedded.Instance) -> redis.Redis:
    return redis.Redis(unix_socket_path=running.socket, decode_responses=True)


def answer(running: embedded.Instance, command: str) -> object:
    with client(running) as behind:
        return behind.execute_command(command)


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)
