"""The embedded server after an accident: it is healed, and its data are never open twice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivebus_redis import embedded
from hivebus_redis.drill.disk import tear
from hivebus_redis.embedded import launch, locks
from hivebus_redis.embedded.places import Places

from .embedded_servers import (
    START_AND_PRINT,
    WITHOUT_LOCKS,
    client,
    empty_home,
    kill,
    rewrite_record,
    run,
    servers_in,
)

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user who has no server yet; whatever was started is gone afterwards."""
    yield from empty_home(short_path, monkeypatch)


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


def test_a_transaction_that_it_died_in_is_never_run(redis_program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", redis_program)

    assert die_in_a_write_and_again_later() == 2


def test_saboteur_what_is_not_cut_is_run_with_the_next_transaction(
    careless_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVEBUS_SERVER_BIN", careless_program)
    monkeypatch.setattr(launch, "cut_unfinished", lambda _: 0)

    assert die_in_a_write_and_again_later() == 1


def die_in_a_write_and_again_later() -> int:
    """Write, die in the middle of a transaction that empties everything, write, die; return how much is left."""
    for number in (1, 2):
        running = embedded.ensure("hb")
        with client(running) as before, before.pipeline() as transaction:
            transaction.xadd("work", {"n": number}).set("last", number).execute()
        kill(running)
        if number == 1:
            tear(Path(running.data_dir))
    with client(embedded.ensure("hb")) as after:
        return int(after.xlen("work"))
