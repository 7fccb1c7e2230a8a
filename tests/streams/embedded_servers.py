"""Embedded servers of a user who had none: started by many at once, looked behind, and killed."""

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

from hivebus_redis import embedded

RACERS = 8
START_AND_PRINT = """
import sys
from hivebus_redis import embedded
sys.stdin.read(1)
print(embedded.ensure("race").pid)
"""
WITHOUT_LOCKS = "import fcntl\nfcntl.flock = lambda *_: None\n"


def empty_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be a user who has no server yet; whatever was started is gone afterwards."""
    (folder / "run").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.delenv("HIVEBUS_SERVER_BIN", raising=False)
    yield folder
    kill_all(folder)


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
