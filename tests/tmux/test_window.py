"""`hivebus tail` in a real window: shows what comes, tells the ledger, runs nothing, and is hard to end by accident."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hivebus.cli.exit_codes import ExitCode
from hivebus.transport import Published
from hivebus_migration.records import Records, read_records
from hivebus_tmux.safe import SafeDriver

from .ground import Ground, Window, message, until, wait_for

AGENT = "frontend-agent"


class Tail:
    """A window that runs the program."""

    def __init__(self, ground: Ground, window: Window, ledger: Path) -> None:
        self._ground = ground
        self.window = window
        self.ledger = ledger

    def screen(self) -> str:
        return self._ground.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self.window.pane)

    def records(self) -> Records:
        return read_records(self.ledger)

    def seen(self) -> list[tuple[str, str | None]]:
        """Return id and fingerprint of each sighting that is written down."""
        return (
            [(each.message_id, each.fingerprint) for each in self.records().sightings] if self.ledger.exists() else []
        )

    def type(self, *keys: str) -> None:
        self._ground.tmux("send-keys", "-t", self.window.pane, *keys)

    def pid(self) -> int:
        return int(self._ground.tmux("display-message", "-p", "-t", self.window.pane, "#{pane_pid}"))

    def is_running(self) -> bool:
        return f"{self.window.pane} 0" in self._ground.tmux("list-panes", "-a", "-F", "#{pane_id} #{pane_dead}")


def tail(ground: Ground, *options: str, mirror: bool = False, says: str = "are shown here") -> Tail:
    ledger = ground.folder / "ledger.db"
    ground.open("keeps-the-session", command=["sleep", "1000"])
    # A program that ends leaves what it said on the screen.
    ground.tmux("set-option", "-g", "remain-on-exit", "on")
    program = ["env", f"HIVEBUS_LEDGER={ledger}", sys.executable, "-m", "hivebus.cli", "tail", *options]
    running = Tail(ground, ground.open(AGENT, mirror=mirror, command=program), ledger)
    wait_for(lambda: says in running.screen() or not running.is_running(), "the program starts")
    assert says in running.screen()
    return running


async def test_messages_of_both_drivers_are_shown_and_written_down(ground: Ground) -> None:
    running = tail(ground)
    safe, legacy = message(AGENT, "typed safely\nline two"), message(AGENT, "typed as before\nline two;")
    transport = ground.transport()
    assert await transport.publish([safe]) == [Published("stored")]
    assert await ground.transport(driver="legacy").publish([legacy]) == [Published("stored")]
    expected = [(item.message_id, transport.fingerprint(item.data)) for item in (safe, legacy)]
    await until(lambda: running.seen() == expected, "both are written down")
    records = running.records()
    assert [(each.agent, each.leg, each.level) for each in records.witnesses] == [(AGENT, "tmux", "taken")]
    assert {(each.agent, each.leg, each.level) for each in records.sightings} == {(AGENT, "tmux", "taken")}
    assert records.witnesses[0].at.mono < records.sightings[0].at.mono < records.sightings[1].at.mono
    screen = running.screen()
    assert re.search(rf"\d\d:\d\d:\d\d  pm-agent  task_assignment  {safe.message_id}\ntyped safely\nline two\n", screen)
    assert re.search(rf"  pm-agent  legacy  {legacy.message_id}\ntyped as before\nline two;", screen)


async def test_nobody_presses_enter_behind_what_it_is_pasted(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    running = tail(ground)
    monkeypatch.setattr(SafeDriver, "_enter", None)
    transport = ground.transport()
    items = [message(AGENT, f"number {number}") for number in range(3)]
    assert [await transport.publish([item]) for item in items] == [[Published("stored")]] * 3
    await until(lambda: [id_ for id_, _ in running.seen()] == [item.message_id for item in items], "all are read")


async def test_a_program_that_comes_after_it_is_pressed_enter_for(ground: Ground) -> None:
    running = tail(ground)
    await ground.transport().publish([message(AGENT, "for the first")])
    log = ground.folder / "second.log"
    ground.tmux("respawn-pane", "-k", "-t", running.window.pane, shlex.join(ground.reader(log)))
    second = Window(running.window.pane, log)
    await until(second.is_ready, "the second program starts")
    await ground.transport().publish([message(AGENT, "for the second")])
    await until(second.is_at_rest, "Enter is pressed")


async def test_a_mirror_knows_whose_copies_it_shows(ground: Ground) -> None:
    running = tail(ground, mirror=True)
    copy = message(f"{AGENT}~shadow", "a copy")
    assert await ground.transport(driver="legacy").publish([copy]) == [Published("stored")]
    await until(lambda: [id_ for id_, _ in running.seen()] == [copy.message_id], "it is written down")
    assert {each.agent for each in (*running.records().witnesses, *running.records().sightings)} == {AGENT}


async def test_who_says_whose_window_it_is_wins_over_the_pane(ground: Ground) -> None:
    running = tail(ground, "--agent", "other-agent", mirror=True, says="for other-agent are shown here")
    await until(lambda: running.ledger.exists() and running.records().witnesses, "it says that it reports")
    assert [each.agent for each in running.records().witnesses] == ["other-agent"]


async def test_without_a_ledger_messages_are_only_shown(ground: Ground) -> None:
    running = tail(ground, "--no-ledger", says="not written down")
    await ground.transport().publish([message(AGENT, "hello there")])
    await until(lambda: "hello there" in running.screen(), "it is shown")
    assert not running.ledger.exists()


async def test_what_is_hostile_is_shown_and_neither_obeyed_nor_run(ground: Ground) -> None:
    running = tail(ground)
    texts = ["\x1b[2J\x1b]0;pwned\x07\x1b[6n", f"$(touch {ground.folder}/pwned)", "\x04\x04", "q", "\u202egnp"]
    transport = ground.transport()
    for text in texts:
        await transport.publish([message(AGENT, text)])
    await until(lambda: len(running.seen()) == len(texts), "all are written down")
    await until(lambda: "\\u202egnp" in running.screen(), "all are shown")
    assert "␛[2J␛]0;pwned␇␛[6n" in running.screen()
    assert not (ground.folder / "pwned").exists()
    assert running.is_running()


async def test_what_the_legacy_driver_does_not_sanitise_is_shown_harmlessly(ground: Ground) -> None:
    running = tail(ground)
    texts = ["\x1b[2J\x1b]0;pwned\x07", "\x04\x04", "\x1b[200~ open", "\x1b[201~"]
    transport = ground.transport(driver="legacy")
    for text in texts:
        await transport.publish([message(AGENT, text)])
    await until(lambda: len(running.seen()) == len(texts), "all are written down")
    assert [print_ for _, print_ in running.seen()] == [
        transport.fingerprint(message(AGENT, text).data) for text in texts
    ]
    assert running.is_running()


async def test_a_damaged_message_is_written_down_as_it_was_read(ground: Ground) -> None:
    running = tail(ground)
    item = message(AGENT, "in the middle")
    frame = f"[hb:{item.message_id} pm-agent>{AGENT} task_assignment 13]\nin the mid"
    ground.tmux("set-buffer", "-b", "damaged", frame)
    ground.tmux("paste-buffer", "-p", "-r", "-b", "damaged", "-t", running.window.pane)
    await until(lambda: [id_ for id_, _ in running.seen()] == [item.message_id], "it is written down")
    assert running.seen()[0][1] != ground.transport().fingerprint(item.data)
    await until(lambda: "DAMAGED" in running.screen(), "it is shown as damaged")


async def test_garbage_and_keys_do_not_end_it(ground: Ground) -> None:
    running = tail(ground)
    for keys in (
        ["C-c"],
        ["q", "Enter"],
        ["C-c", "C-c", "C-z", "C-\\"],
        ["Escape", "Up", "F1"],
        ["C-d"],
        ["x"],
        ["C-d"],
    ):
        running.type(*keys)
    ground.tmux("set-buffer", "-b", "garbage", "\x1b[200~[hb:x y>z" + "🤖" * 3000)
    ground.tmux("paste-buffer", "-b", "garbage", "-t", running.window.pane)
    item = message(AGENT, "still here")
    await ground.transport().publish([item])
    await until(lambda: [id_ for id_, _ in running.seen()] == [item.message_id], "it goes on")


async def test_two_ctrl_d_end_it(ground: Ground) -> None:
    running = tail(ground)
    running.type("C-d", "C-d")
    await until(lambda: not running.is_running(), "it ends")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_ends_it_with_what_it_saw_written_down(ground: Ground, number: signal.Signals) -> None:
    running = tail(ground)
    item = message(AGENT, "hello")
    await ground.transport().publish([item])
    await until(lambda: running.screen().endswith("hello"), "it is shown")
    os.kill(running.pid(), number)
    await until(lambda: not running.is_running(), "it ends")
    assert [id_ for id_, _ in running.seen()] == [item.message_id]


async def test_the_terminal_is_put_back_as_it_was(ground: Ground) -> None:
    ground.open("keeps-the-session", command=["sleep", "1000"])
    window = ground.open(AGENT, command=["bash", "--norc"])
    before, after = ground.folder / "before", ground.folder / "after"
    program = f"{sys.executable} -m hivebus.cli tail --no-ledger; echo ended=$?"
    ground.tmux("send-keys", "-t", window.pane, f"stty -a > {before}; {program}; stty -a > {after}", "Enter")
    running = Tail(ground, window, Path())
    await until(lambda: "not written down" in running.screen(), "it starts")
    running.type("C-d", "C-d")
    await until(lambda: after.exists() and after.read_text().count("\n") == before.read_text().count("\n"), "it ends")
    assert "ended=0" in running.screen()
    assert after.read_text() == before.read_text()


async def test_a_closed_window_ends_it(ground: Ground) -> None:
    running = tail(ground)
    pid = running.pid()
    ground.tmux("kill-window", "-t", running.window.pane)
    await until(lambda: not Path(f"/proc/{pid}").exists(), "it ends")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--agent", AGENT], "there is no terminal to read from"),
        ([], "which agent you are"),
        (["--agent", AGENT, "--json"], "no JSON form"),
    ],
)
def test_what_it_cannot_do_is_said(options: Sequence[str], says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hivebus.cli", "tail", *options],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == ExitCode.CONFIG
    assert says in done.stderr
