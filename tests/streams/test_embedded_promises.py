"""What the embedded server promises: nothing lost when it is killed, and nobody else let in."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from hivebus_redis import embedded

from .embedded_servers import answer, client, empty_home, kill, mode

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
