"""Moving an agent while others write to it: nothing is handled twice, nothing is lost, and every sender is answered."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hivebus_migration.records import read_records

from ..streams.own_server import DURABLE, OwnServer
from .commands import Hivebus, Program, eventually
from .files_leg import ids

TRAFFIC = Path(__file__).with_name("traffic.py")
pytestmark = pytest.mark.timeout(180)


class Team:
    """An agent with a handler on either road, and who writes to it.

    Attributes:
        hivebus: the command line, in the environment of them all.
    """

    def __init__(self, hivebus: Hivebus) -> None:
        self.hivebus = hivebus
        self.senders: list[Program] = []
        self.handlers: list[Program] = []

    def assemble(self, *, senders: int = 3) -> None:
        """Start everybody."""
        self.handlers = [
            self._start("handle", "handled-on-redis", "dev"),
            self._start("watch", "handled-in-window", str(self.hivebus.folder / "dev.jsonl")),
        ]
        self.handlers[0].until_said("ready")
        self.senders = [self._start("send", f"sent-{number}", "dev", f"pm-{number}") for number in range(senders)]
        for number in range(senders):
            eventually(lambda number=number: self.book(f"sent-{number}"), what=f"sender {number} sends")

    def until_more(self, book: str, *, than: int = 50) -> None:
        """Return when a book has grown by that much."""
        before = len(self.book(book))
        eventually(lambda: len(self.book(book)) > before + than, what=f"{book} grows")

    def finish(self) -> None:
        """Let the senders stop, and the handlers finish what is there."""
        for sender in self.senders:
            assert sender.end() == 0, sender.said
        sent = len(self.sent())
        eventually(lambda: len(set(self.handled())) >= sent, what="everything that was sent is handled")
        for handler in self.handlers:
            assert handler.end() == 0, handler.said

    def sent(self) -> list[str]:
        return [each for number in range(len(self.senders)) for each in self.book(f"sent-{number}")]

    def handled(self) -> list[str]:
        return [*self.book("handled-on-redis"), *self.book("handled-in-window")]

    def book(self, name: str) -> list[str]:
        path = self.hivebus.home / name
        return path.read_text().split() if path.exists() else []

    def kill(self) -> None:
        for program in (*self.senders, *self.handlers):
            if program.process.poll() is None:
                program.kill()

    def _start(self, what: str, book: str, *words: str) -> Program:
        words = (sys.executable, str(TRAFFIC), what, str(self.hivebus.home / book), *words)
        return Program(list(words), env=self.hivebus.env, cwd=self.hivebus.home)


@pytest.fixture
def assemble() -> Iterator[Callable[[Hivebus], Team]]:
    """Assemble teams that are gone after the test."""
    teams: list[Team] = []

    def make(hivebus: Hivebus) -> Team:
        teams.append(Team(hivebus))
        teams[-1].assemble()
        return teams[-1]

    yield make
    for team in teams:
        team.kill()


def assert_handled_once(team: Team) -> None:
    counts = Counter(team.handled())
    assert sorted(counts) == sorted(team.sent())
    assert set(counts.values()) == {1}


def test_a_promotion_with_traffic_running_loses_nothing_and_hands_nothing_out_twice(
    hivebus: Hivebus, assemble: Callable[[Hivebus], Team]
) -> None:
    hivebus.ok("migrate", "start", "dev")
    team = assemble(hivebus)
    team.until_more("handled-in-window")
    hivebus.ok("migrate", "promote", "dev", "--to", "live")
    team.until_more("handled-on-redis")
    team.finish()
    assert_handled_once(team)
    # The other leg had its copies, in a place of their own.
    assert set(team.book("handled-on-redis")) <= {*ids(hivebus.folder, "dev~shadow")}
    records = read_records(hivebus.ledger)
    assert {intent.acting for intent in records.intents} == {"files", "redis"}
    assert {intent.message_id for intent in records.intents} == set(team.sent())


def test_there_and_back_and_there_again(hivebus: Hivebus, assemble: Callable[[Hivebus], Team]) -> None:
    team = assemble(hivebus)
    team.until_more("handled-in-window")
    for words, book in [
        (("start", "dev"), "handled-in-window"),
        (("promote", "dev", "--to", "live"), "handled-on-redis"),
        (("rollback", "dev", "--to", "dualwrite", "--reason", "a test"), "handled-in-window"),
        (("promote", "dev", "--to", "live"), "handled-on-redis"),
        (("rollback", "dev", "--to", "off", "--reason", "a test"), "handled-in-window"),
    ]:
        hivebus.ok("migrate", *words)
        team.until_more(book)
    team.finish()
    assert_handled_once(team)


@pytest.fixture
def durable_server(redis_program: str) -> Iterator[OwnServer]:
    server = OwnServer(redis_program, *DURABLE)
    server.start()
    yield server
    server.remove()


def test_senders_go_on_while_redis_restarts_and_tmux_acts(
    hivebus: Hivebus, assemble: Callable[[Hivebus], Team], durable_server: OwnServer
) -> None:
    hivebus.env["HIVEBUS_URL"] = durable_server.url
    hivebus.ok("migrate", "start", "dev")
    team = assemble(hivebus)
    durable_server.kill()
    team.until_more("handled-in-window", than=200)
    done = hivebus("send", "dev", "from a new process", "--agent", "pm", "--json")
    assert done.returncode == 0, done.stderr
    durable_server.start()
    hivebus.ok("migrate", "promote", "dev", "--to", "live")
    team.until_more("handled-on-redis")
    for sender in team.senders:
        assert sender.said == []
    team.finish()
    counts = Counter(team.handled())
    assert set(counts.values()) == {1}
    assert set(team.sent()) <= set(counts)
    (extra,) = set(counts) - set(team.sent())
    assert extra in team.book("handled-in-window")


def test_a_restart_of_redis_while_it_acts_loses_nothing(
    hivebus: Hivebus, assemble: Callable[[Hivebus], Team], durable_server: OwnServer
) -> None:
    hivebus.env["HIVEBUS_URL"] = durable_server.url
    hivebus.ok("migrate", "start", "dev")
    hivebus.ok("migrate", "promote", "dev", "--to", "live")
    team = assemble(hivebus)
    team.until_more("handled-on-redis")
    durable_server.kill()
    durable_server.start()
    team.until_more("handled-on-redis")
    team.finish()
    # Twice is allowed around a crash of the server: handled, and its ack lost with the server.
    assert set(team.sent()) <= set(team.handled())
    assert team.book("handled-in-window") == []


# --- One message, one process ------------------------------------------------------------------------------


@pytest.fixture
def gated(tmp_path: Path, redis_server: Any, plugin_site: Path, cache_home: Path) -> Hivebus:
    """Two roads on which a copy in the files waits until the test opens a gate."""
    (home := tmp_path / "gated").mkdir()
    namespace = f"t{uuid4().hex[:12]}"
    hivebus = Hivebus(home, url=redis_server.url, namespace=namespace, site=plugin_site, cache=cache_home, gate="open")
    hivebus.ok("migrate", "start", "dev")
    hivebus.ok("migrate", "promote", "dev", "--to", "live")
    return hivebus


def test_send_prints_its_result_while_the_copy_is_under_way_and_ends_when_that_is_written(gated: Hivebus) -> None:
    program = gated.start("send", "dev", "hello", "--agent", "pm")
    try:
        eventually(lambda: program.printed, what="the result is printed")
        assert ids(gated.folder, "dev~shadow") == []
        (gated.folder / "open").touch()
        assert program.wait() == 0, program.said
    finally:
        program.kill()
    assert ids(gated.folder, "dev~shadow") == [program.printed[0].split("\t")[0]]


def test_a_copy_that_takes_for_ever_holds_up_the_end_of_a_process_for_a_bounded_time(gated: Hivebus) -> None:
    gated.ok("send", "dev", "hello", "--agent", "pm")
    attempts = [each for each in read_records(gated.ledger).attempts if each.leg == "files"]
    assert [(each.outcome, each.reason) for each in attempts] == [("unknown", "closed")]


SCRIPT = """
import sys, hivebus
receipt = hivebus.send("dev", "hello", from_agent="pm")
print(dict(receipt.legs), receipt.durability is not None, flush=True)
try:
    hivebus.send("dev", "x" * 2_000_000, from_agent="pm")
except hivebus.HivebusError as error:
    print(type(error).__name__, flush=True)
"""


def test_a_script_goes_on_with_its_receipt(gated: Hivebus) -> None:
    program = gated.python(SCRIPT)
    try:
        eventually(lambda: len(program.printed) == 2, what="both results are printed")
        assert ids(gated.folder, "dev~shadow") == []
        (gated.folder / "open").touch()
        assert program.wait() == 0, program.said
    finally:
        program.kill()
    assert program.printed == ["{'redis': 'accepted', 'files': None} True\n", "InvalidMessage\n"]
    assert len(ids(gated.folder, "dev~shadow")) == 1


def test_an_error_is_raised_as_it_is_on_one_road(gated: Hivebus) -> None:
    gated.env["HIVEBUS_URL"] = f"unix://{gated.home}/none.sock"
    gated.folder.rename(gated.home / "gone")
    done = gated("send", "dev", "hello", "--agent", "pm")
    assert done.returncode == 69
    assert "neither redis nor files can be reached" in done.stderr
