"""Starts, finds again and stops the server of a namespace; of many that try at once, one starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hivebus.errors import HivebusError, Unavailable
from hivebus_redis.embedded import binary, configuration, instance, launch, locks, trouble, wire
from hivebus_redis.embedded.instance import Instance
from hivebus_redis.embedded.places import Places, choose_socket, make_data_dir, unusable
from hivebus_redis.resp import ReplyError

PATIENCE = 30.0
# A server opens its socket within milliseconds, before it reads its data.
SOCKET_GRACE = 2.0
PAUSE = 0.02


def ensure(namespace: str, *, patience: float = PATIENCE) -> Instance:
    """Return the running server of *namespace*, started if need be; see `hivebus_redis.embedded.ensure`."""
    known = _known(namespace)
    if known:
        return known
    places = Places.of(namespace)
    with _alone(places, patience):
        if not _revive(places, patience):
            with locks.hold(places.living, seconds=0) as living:
                launch.detached(_plan(places, living), seconds=patience)
        return _record(places)


def serve(namespace: str, *, announce: Callable[[Instance], None], patience: float = PATIENCE) -> int:
    """Run the server as a child of this process until it ends, or a signal ends it; return its exit code.

    Args:
        namespace: the bus.
        announce: is told when the server takes commands.
        patience: seconds that it may take to get ready.
    """
    places = Places.of(namespace)
    with _alone(places, patience):
        if _revive(places, patience):
            raise Unavailable(
                f"the server of namespace {namespace} runs already, as process {_record(places).pid}",
                cause="a command that needed it started it in the background",
                hint="hivebus down ends it; its messages are kept",
            )
        with locks.hold(places.living, seconds=0) as living:
            child = launch.attached(_plan(places, living), seconds=patience)
        running = _record(places)
    with _signals_end(child):
        announce(running)
        return child.wait()


def stop(namespace: str, *, patience: float = PATIENCE) -> bool:
    """Shut the server of *namespace* down; see `hivebus_redis.embedded.stop`."""
    places = Places.of(namespace)
    if not os.path.exists(places.data_dir):
        return False
    with _alone(places, patience):
        if not locks.is_held(places.living):
            return False
        socket = configuration.socket_of(places)
        if socket and instance.is_ours(socket) and instance.answers(socket):
            _shut_down(places, socket)
        else:
            _terminate(places)
        _await_end(places, patience)
        return True


def _known(namespace: str) -> Instance | None:
    """Return the server that was recorded, if it is that very process and takes commands."""
    known = instance.find(namespace)
    facts = wire.facts(known.socket) if known else None
    return known if known and facts and facts["process_id"] == str(known.pid) else None


def _revive(places: Places, patience: float) -> bool:
    """Wait until a server that has the data open takes commands; return False when there is none.

    Its starter may have died before it was ready. When its socket was removed, as a logout does with
    the runtime directory, nobody can reach it any more: it is ended cleanly, to be started again.
    """
    begin = time.monotonic()
    while locks.is_held(places.living):
        socket = configuration.socket_of(places) or ""
        state = wire.state(socket) if instance.is_ours(socket) else "silent"
        waited = time.monotonic() - begin
        if state == "ready":
            return True
        if not os.path.lexists(socket) and waited >= SOCKET_GRACE:
            _terminate(places)
            _await_end(places, patience)
        elif waited >= patience:
            since = max(0, trouble.log_size(places) - 2000)
            raise trouble.not_ready(places, loading=state == "loading", seconds=patience, since=since)
        time.sleep(PAUSE)
    return False


def _plan(places: Places, living: int) -> launch.Launch:
    before = instance.read(places)
    program = binary.choose(used_before=before.server if before else None)
    return launch.Launch(places=places, program=program, socket=choose_socket(places), living=living)


def _record(places: Places) -> Instance:
    """Write down what the server says about itself, for everybody who looks for it."""
    socket = configuration.socket_of(places) or ""
    facts = wire.facts(socket)
    if facts is None:
        raise Unavailable(
            f"the embedded server at {socket} ended as soon as it was ready",
            cause="somebody stopped it",
            hint=f"try again; its log is {places.log}",
        )
    synced = facts["appendonly"] == "yes" and facts["appendfsync"] == "always"
    valkey = facts.get("valkey_version")
    running = Instance(
        url=wire.url_of(socket),
        pid=int(facts["process_id"]),
        socket=socket,
        data_dir=places.data_dir,
        log=places.log,
        server=facts["executable"],
        version=f"valkey {valkey}" if valkey else f"redis {facts['redis_version']}",
        namespace=places.namespace,
        started=time.time() - int(facts["uptime_in_seconds"]),
        durability="fsync" if synced else "memory",
    )
    instance.write(places, running)
    return running


def _shut_down(places: Places, socket: str) -> None:
    try:
        wire.shut_down(socket)
    except (HivebusError, ReplyError) as error:
        raise _will_not_stop(places, str(error)) from error


def _terminate(places: Places) -> None:
    """End a server that cannot be reached; the signal makes it shut down cleanly."""
    try:
        with open(places.pidfile, encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGTERM)
    except (ProcessLookupError, FileNotFoundError):
        return  # it is ending already
    except (OSError, ValueError) as error:
        raise _will_not_stop(places, f"its process is not known: {error}") from error


def _await_end(places: Places, patience: float) -> None:
    deadline = time.monotonic() + patience
    while locks.is_held(places.living):
        if time.monotonic() >= deadline:
            raise _will_not_stop(places, f"it still runs after {patience:.0f} seconds")
        time.sleep(PAUSE)


def _will_not_stop(places: Places, cause: str) -> Unavailable:
    return Unavailable(
        f"the embedded server of namespace {places.namespace} did not stop",
        cause=cause,
        hint=f"read {places.log}; fuser {places.living} names its process",
    )


@contextmanager
def _alone(places: Places, patience: float) -> Iterator[None]:
    """Be the only process that starts or stops the server."""
    make_data_dir(places)
    try:
        # Who holds it may need as long as this process would.
        with locks.hold(places.starting, seconds=patience + 5):
            yield
    except OSError as error:
        raise unusable(error.filename or places.data_dir, error) from error


@contextmanager
def _signals_end(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on as a clean shutdown of *child*."""
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: child.terminate()) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
