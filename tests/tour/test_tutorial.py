"""The tutorial is true: every command and program of it is run, and shows what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from .machines import ROOT, Machine, machine
from .pages import Walk, blocks, follow, loosely

PAGE = (ROOT / "docs" / "tutorial.md").read_text()


def test_the_tutorial_shows_what_happens(computer: Machine) -> None:
    follow(PAGE, computer)


# --- Saboteurs: a page that is not true is caught -----------------------------------------------------


def differs(computer: Machine, page: str) -> bool:
    walk = Walk(computer)
    taken = [walk.take(block) for block in blocks(page)]
    return any(loosely(shown_on_the_page) != loosely(happened) for shown_on_the_page, happened in taken)


def test_saboteur_another_output_than_the_page_shows_is_noticed(computer: Machine) -> None:
    assert not differs(computer, "```console\n$ echo one\none\n```\n")
    assert differs(computer, "```console\n$ echo one\ntwo\n```\n")


def test_saboteur_two_messages_that_the_page_takes_for_one_are_noticed(computer: Machine) -> None:
    one, two = "4493d17d-7ede-42dc-b706-699381992ad5", "7b0c52e1-93aa-4c1e-8f5d-2d1b60a9c4f3"
    shown = f"```console\n$ echo {one} {one}\n{one} {one}\n```\n"
    assert not differs(computer, shown)
    assert differs(computer, shown.replace(f"{one} {one}\n{one}", f"{one} {two}\n{one}"))


def test_saboteur_a_command_that_fails_stops_the_walk(computer: Machine) -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        differs(computer, "```console\n$ (exit 3)\n$ echo on\non\n```\n")


def test_saboteur_a_program_that_nobody_runs_is_refused(computer: Machine) -> None:
    with pytest.raises(AssertionError, match="nobody runs this python block"):
        differs(computer, "```python\nprint()\n```\n")


def test_what_was_started_on_a_page_ends_with_it() -> None:
    with machine({}) as computer:
        walk = Walk(computer)
        for block in blocks("```console\n$ sleep 1000 &\n$ echo $! > pid\n```\n"):
            walk.take(block)
        pid = int((computer.home / "pid").read_text())
        assert is_running(pid)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        # One that nobody has asked after yet is dead all the same.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
