"""When the embedded server cannot be had: what happened, the likely cause, and the next step."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from hivebus.errors import ConfigError, Unavailable
from hivebus_redis import embedded
from hivebus_redis.embedded import binary, configuration, lifecycle, locks, trouble
from hivebus_redis.embedded.instance import is_ours
from hivebus_redis.embedded.places import Places, choose_socket

pytestmark = pytest.mark.timeout(90)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user who has no server yet; what was started as ``hb`` is gone afterwards."""
    (short_path / "run").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(short_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path / "run"))
    monkeypatch.delenv("HIVEBUS_SERVER_BIN", raising=False)
    yield short_path
    with pytest.MonkeyPatch.context() as own:
        own.setenv("XDG_STATE_HOME", str(short_path / "state"))
        embedded.stop("hb")


@pytest.fixture(params=["redis", "valkey"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of server in turn."""
    path: str = request.getfixturevalue(f"{request.param}_program")
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", path)
    return path


# --- Which program ------------------------------------------------------------------------------


def test_the_named_program_is_used(redis_program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", redis_program)

    assert embedded.ensure("hb").version.startswith("redis ")


def test_without_a_name_the_wheel_is_used(valkey_program: str) -> None:
    assert binary.choose(used_before=None) == valkey_program


def test_the_program_that_wrote_the_data_is_preferred(redis_program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", redis_program)
    embedded.ensure("hb")
    embedded.stop("hb")
    monkeypatch.delenv("HIVEBUS_SERVER_BIN")

    assert embedded.ensure("hb").version.startswith("redis ")


def test_a_program_that_is_gone_is_replaced(valkey_program: str) -> None:
    assert binary.choose(used_before="/gone/valkey-server") == valkey_program


def test_a_program_that_was_replaced_by_an_old_one_is_passed_over(home: Path, valkey_program: str) -> None:
    old = home / "server"
    old.write_text("#!/bin/sh\necho Redis server v=6.2.14")
    old.chmod(0o700)

    assert binary.choose(used_before=str(old)) == valkey_program


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (None, "No such file"),
        ("#!/bin/sh\necho hello", "it is no Redis or Valkey server; it said 'hello'"),
        ("#!/bin/sh\necho Redis server v=6.2.14 sha=0", "its version is 6.2, and hivebus needs 7.0"),
    ],
)
def test_a_named_program_that_cannot_serve_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, problem: str
) -> None:
    named = home / "server"
    if script:
        named.write_text(script)
        named.chmod(0o700)
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", str(named))

    with pytest.raises(ConfigError, match=f"HIVEBUS_SERVER_BIN names {named}: {re.escape(problem)}"):
        embedded.ensure("hb")


def test_without_any_program_the_error_names_three_ways_out(home: Path) -> None:
    said = ensure_without_wheel(path="")

    for expected in (
        "hivebus.errors.Unavailable: no server is configured, and none is installed",
        "pip install 'hivebus[embedded]'",
        "apt-get install redis-server",
        "HIVEBUS_SERVER_BIN",
        "HIVEBUS_URL",
    ):
        assert expected in said


def test_a_program_on_the_path_is_used_when_there_is_no_wheel(redis_program: str) -> None:
    assert "redis " in ensure_without_wheel(path=os.path.dirname(redis_program))


def test_a_program_on_the_path_that_cannot_serve_is_passed_over_and_named(home: Path) -> None:
    (home / "bin").mkdir()
    old = home / "bin" / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=5.0.7")
    old.chmod(0o700)

    assert f"{old}: its version is 5.0" in ensure_without_wheel(path=str(home / "bin"))


# --- Its files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["", "../x", "a/b", "UPPER", "n" * 64])
def test_a_namespace_that_is_no_name_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        embedded.ensure(namespace)


def test_a_state_folder_that_cannot_be_used_is_named(home: Path) -> None:
    (home / "state").write_text("a file, not a folder")

    with pytest.raises(Unavailable, match=r"cannot use .*/state/hivebus/hb.*Not a directory.*XDG_STATE_HOME"):
        embedded.ensure("hb")
    assert embedded.find("hb") is None
    os.unlink(home / "state")


def test_a_disk_that_takes_no_more_is_named(home: Path) -> None:
    script = (
        "import resource, signal\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from hivebus_redis import embedded\nembedded.ensure('hb')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert "hivebus.errors.Unavailable: the embedded server cannot use" in done.stderr
    assert "File too large" in done.stderr
    assert "make room there" in done.stderr


def test_without_a_home_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "nowhere")

    with pytest.raises(Unavailable, match="no other home.*set XDG_STATE_HOME or HOME"):
        embedded.find("hb")


def test_data_of_another_user_are_left_alone(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    data = home / "state/hivebus/hb"
    data.mkdir(parents=True)
    os.chown(data, 65534, 65534)

    with pytest.raises(Unavailable, match="belong to user 65534, and this is user 0.*XDG_STATE_HOME"):
        embedded.ensure("hb")
    assert list(data.iterdir()) == []
    os.chown(data, 0, 0)


def test_a_socket_folder_that_others_can_enter_is_refused(home: Path) -> None:
    folder = home / "run/hivebus"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(Unavailable, match=f"mode 0700: others could replace the server.*chmod 700 {folder}"):
        embedded.ensure("hb")


def test_a_file_in_the_place_of_the_socket_is_not_removed(home: Path) -> None:
    path = choose_socket(Places.of("hb"))
    Path(path).write_text("precious")

    with pytest.raises(Unavailable, match=f"{path} is in the way"):
        embedded.ensure("hb")
    assert Path(path).read_text() == "precious"


def test_a_stale_socket_is_removed() -> None:
    path = choose_socket(Places.of("hb"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    assert embedded.ensure("hb").socket == path


def test_a_server_that_somebody_else_started_is_neither_used_nor_replaced() -> None:
    path = choose_socket(Places.of("hb"))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(path)
        stranger.listen(5)

        with pytest.raises(Unavailable, match=f"a server that hivebus did not start listens on {path}.*HIVEBUS_URL"):
            embedded.ensure("hb")
        assert os.path.exists(path)


def test_the_socket_of_another_user_is_not_ours(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a socket to another user")
    path = home / "theirs.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        assert is_ours(str(path))
        os.chown(path, 65534, 65534)

        assert not is_ours(str(path))


# --- Its process ----------------------------------------------------------------------------------


def test_damaged_data_are_refused_and_the_named_repair_works(program: str) -> None:
    log = write_entries(20)
    damage = log.stat().st_size // 2
    with log.open("r+b") as file:
        file.seek(damage)
        file.write(b"@@@@@@@@")

    with pytest.raises(Unavailable, match="(?s)its file of messages is damaged.*copy .* first") as refused:
        embedded.ensure("hb")

    command = re.search(r"then (bash -c '.*--fix .*\.aof')", str(refused.value))
    assert command
    subprocess.run(command[1], shell=True, input="y\n", text=True, stdout=subprocess.DEVNULL, check=True, timeout=30)
    with client(embedded.ensure("hb")) as after:
        assert 0 < after.xlen("work") < 20


def test_data_that_an_older_server_cannot_read_are_not_called_damaged(
    valkey_program: str, redis_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", valkey_program)
    embedded.ensure("hb")
    embedded.stop("hb")
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", redis_program)

    said = f"written by valkey .* {redis_program} cannot read.*HIVEBUS_SERVER_BIN={valkey_program}"
    with pytest.raises(Unavailable, match=said):
        embedded.ensure("hb")


def test_the_last_words_are_those_of_this_start_only(redis_program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", redis_program)
    places = block_the_data()
    Path(places.log).write_text("an old line\n")

    with pytest.raises(Unavailable, match="its last words:") as refused:
        embedded.ensure("hb")
    assert "appendonlydir" in str(refused.value)
    assert "an old line" not in str(refused.value)


def test_in_the_foreground_the_last_words_are_told_too(program: str) -> None:
    places = block_the_data()

    with pytest.raises(Unavailable, match="(?s)its last words:.*appendonlydir"):
        lifecycle.serve("hb", announce=lambda _: pytest.fail("it cannot have started"))
    assert not locks.is_held(places.living)


def test_a_server_that_hangs_is_reported_in_bounded_time_and_not_replaced() -> None:
    running = embedded.ensure("hb")
    os.kill(running.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="(?s)runs and does not answer.*it is paused, or hangs"):
            lifecycle.ensure("hb", patience=0.2)
        with pytest.raises(Unavailable, match=f"did not stop.*fuser {running.data_dir}"):
            lifecycle.stop("hb", patience=0.2)
    finally:
        os.kill(running.pid, signal.SIGCONT)


def test_somebody_who_keeps_the_lock_is_named_in_bounded_time() -> None:
    embedded.ensure("hb")
    embedded.stop("hb")
    path = Places.of("hb").starting
    with (
        locks.hold(path, seconds=1),
        pytest.raises(Unavailable, match=f"another process has kept {path} locked.*fuser {path}"),
        locks.hold(path, seconds=0.05),
    ):
        pytest.fail("the lock was given twice")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("write: No space left on device", "the disk is full"),
        ("open: Permission denied", "it may not use its files"),
        ("something new", "see its words above"),
    ],
)
def test_what_the_server_says_is_explained(said: str, cause: str) -> None:
    error = trouble.did_not_start(Places.of("hb"), program="server", said=said, since=0)

    assert said in str(error)
    assert error.cause == cause
    assert error.hint


@pytest.mark.parametrize("path", ["/a b", '/a"b', "/a\\b", "/a\\nb", "/a\nb", "/ü", "/a\\\\"])
def test_any_path_can_be_configured(home: Path, path: str) -> None:
    assert configuration.unquote(configuration.quote(path)) == path


# --- Helpers ----------------------------------------------------------------------------------------


def ensure_without_wheel(*, path: str) -> str:
    """Start a server in a Python that has the standard library and hivebus, and nothing else installed."""
    script = (
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'plugins')!r}]\n"
        "from hivebus_redis import embedded\nprint(embedded.ensure('hb').version)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def block_the_data() -> Places:
    """Leave a file where the server wants its folder of messages, so that it cannot start."""
    embedded.ensure("hb")
    embedded.stop("hb")
    places = Places.of("hb")
    shutil.rmtree(Path(places.data_dir, "appendonlydir"))
    Path(places.data_dir, "appendonlydir").write_text("in the way")
    return places


def write_entries(count: int) -> Path:
    """Have a server write entries and stop; return the file that holds them."""
    with client(embedded.ensure("hb")) as behind:
        for n in range(count):
            behind.xadd("work", {"n": n})
    embedded.stop("hb")
    files = list(Path(Places.of("hb").data_dir, "appendonlydir").glob("*.incr.aof"))
    assert len(files) == 1
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    return files[0]


def client(running: embedded.Instance) -> redis.Redis:
    return redis.Redis(unix_socket_path=running.socket, decode_responses=True)
