"""Starts a server process and waits until it takes commands."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hivebus.errors import Unavailable
from hivebus_redis.append_only import cut_unfinished
from hivebus_redis.embedded import configuration, trouble, wire
from hivebus_redis.embedded.instance import answers, is_ours
from hivebus_redis.embedded.places import Places

PAUSE = 0.01


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be started.

    Attributes:
        places: its files.
        program: the server.
        socket: where it shall listen.
        living: the open lock that it holds as long as it lives.
    """

    places: Places
    program: str
    socket: str
    living: int


def detached(launch: Launch, *, seconds: float) -> None:
    """Start a server that outlives this process and its terminal, and wait until it takes commands.

    Raises:
        Unavailable: it ended, or did not get ready within *seconds*; says why.
    """
    since = _prepare(launch)
    with _pipe() as (reader, writer):
        said = _into_background(launch, writer, since=since, seconds=seconds)
        os.close(writer)
        _await_ready(launch, reader, said=said, since=since, seconds=seconds)


def attached(launch: Launch, *, seconds: float) -> subprocess.Popen[bytes]:
    """Start a server as a child of this process, wait until it takes commands, and return it.

    Raises:
        Unavailable: it ended, or did not get ready within *seconds*; says why.
    """
    since = _prepare(launch)
    with _pipe() as (reader, writer):
        # A session of its own: Ctrl-C reaches the parent alone, which then ends the server once.
        child = subprocess.Popen(
            [launch.program, launch.places.config, "--daemonize", "no"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writer, launch.living),
            env=configuration.environment(),
            umask=0o077,
            start_new_session=True,
        )
        os.close(writer)
        try:
            _await_ready(launch, reader, said="", since=since, seconds=seconds)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    return child


def _prepare(launch: Launch) -> int:
    """Make way for the server and return where its log ends now."""
    if os.path.lexists(launch.socket):
        _remove_stale(launch.socket)
    configuration.write(launch.places, socket=launch.socket)
    if os.path.lexists(launch.places.pidfile):
        os.unlink(launch.places.pidfile)
    cut_unfinished(Path(launch.places.data_dir))
    return trouble.log_size(launch.places)


def _into_background(launch: Launch, alive: int, *, since: int, seconds: float) -> str:
    """Run the program until it has moved to the background, and return what it said before."""
    try:
        done = subprocess.run(
            [launch.program, launch.places.config, "--daemonize", "yes"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(alive, launch.living),
            env=configuration.environment(),
            umask=0o077,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise trouble.not_ready(launch.places, loading=False, seconds=seconds, since=since) from error
    return done.stdout.decode("utf-8", "replace")


def _remove_stale(path: str) -> None:
    # The server would replace whatever is there without a word.
    if not is_ours(path):
        raise Unavailable(
            f"{path} is in the way of the embedded server",
            cause="it is no socket, or another user's",
            hint="look what it is, and remove it",
        )
    if answers(path):
        raise Unavailable(
            f"a server that hivebus did not start listens on {path}",
            cause="somebody started it by hand",
            hint=f"fuser {path} names its process; end it, or set HIVEBUS_URL to use it",
        )
    os.unlink(path)


def _await_ready(launch: Launch, reader: int, *, said: str, since: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (state := wire.state(launch.socket)) != "ready":
        # The server holds the other end and never writes: it becomes readable when the server is gone.
        if select.select([reader], [], [], PAUSE)[0]:
            raise trouble.did_not_start(launch.places, program=launch.program, said=said, since=since)
        if time.monotonic() >= deadline:
            raise trouble.not_ready(launch.places, loading=state == "loading", seconds=seconds, since=since)


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Yield a pipe whose writing end the user of it closes."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
