"""The processes of the demo: agents that are started, killed and started again, and who stands beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hivebus.errors import HivebusError, Unavailable
from hivebus_tmux.demo.agent import Part

AGENTS = (
    "pm-agent",
    "frontend-agent",
    "documentation-agent",
    "quality-agent",
    "integration-agent",
    "ops-agent",
)
STOP_WITHIN = 10.0
Process = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much happens.

    Attributes:
        messages: how many each agent sends; rate: how many a second on average.
        work: the longest that a handler takes, in seconds; 0 is agents that only send.
        hit: how many messages the victim shall have in its hands when it is killed.
        lease: seconds after which a dead agent's messages are handed out again.
        longest: seconds after which what is missing counts as missing.
    """

    messages: int
    rate: float
    work: float
    hit: int = 5
    lease: float = 3.0
    longest: float = 50.0


def parts(scale: Scale, *, url: str, folder: Path) -> dict[str, Part]:
    """Return what each agent plays."""
    return {
        name: Part(
            name=name,
            peers=tuple(peer for peer in AGENTS if peer != name),
            count=scale.messages,
            rate=scale.rate,
            work=scale.work,
            url=url,
            lease=scale.lease,
            folder=folder,
        )
        for name in AGENTS
    }


@contextmanager
def running(
    jobs: Mapping[str, Sequence[str]], folder: Path, environment: Mapping[str, str]
) -> Iterator[dict[str, Process]]:
    """Start a process per job, its log in *folder*; stop all of them at the end."""
    processes: dict[str, Process] = {}
    try:
        for name, words in jobs.items():
            processes[name] = start(name, words, folder, environment)
        yield processes
    finally:
        stop(processes.values())


def start(name: str, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Process:
    """Start one process."""
    with log_of(folder, name).open("ab") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            # A Ctrl-C belongs to the demo, which then stops its agents in order.
            start_new_session=True,
        )


def stop(processes: Collection[Process]) -> None:
    """Let each finish what it does; kill those that do not."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def hivebus(words: Sequence[str]) -> list[str]:
    """Return the command line of a command of ours."""
    return [sys.executable, "-m", "hivebus.cli", *words]


def run(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command of ours, as an operator would; what it says on stdout is not wanted."""
    done = subprocess.run(hivebus(words), env={**os.environ, **environment}, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"hivebus {' '.join(words)} ended with code {done.returncode}", cause=said or None)


def log_of(folder: Path, name: str) -> Path:
    """Return where a process writes what it has to say."""
    return folder / f"{name}.log"


def wait_until(reached: Callable[[], bool], *, what: str, within: float, folder: Path, every: float = 0.05) -> None:
    """Wait until something is so; raise and say where the logs are when it does not come to be."""
    deadline = time.monotonic() + within
    while not reached():
        if time.monotonic() > deadline:
            raise HivebusError(f"{what} did not happen within {within:g} s", hint=f"the logs are in {folder}")
        time.sleep(every)


def check_alive(processes: Mapping[str, Process], folder: Path) -> None:
    """Raise when one of them has ended, with the last line of its log."""
    for name, process in processes.items():
        if process.poll() is not None:
            said = log_of(folder, name).read_text(errors="replace").strip().splitlines()
            raise Unavailable(
                f"{name} ended with code {process.returncode}",
                cause=said[-1] if said else None,
                hint=f"its log is in {folder}",
            )
