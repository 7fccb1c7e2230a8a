"""A transport in a package of its own: written as the page says, installed, used by URL, and checked by the kit."""

from __future__ import annotations

import pytest

from .machines import ROOT, Machine
from .pages import blocks, follow

PAGE = (ROOT / "docs" / "write-a-transport.md").read_text()


def test_the_page_shows_what_happens_and_the_kit_finds_nothing_broken(computer: Machine) -> None:
    computer.install()
    follow(PAGE, computer)

    report = (computer.home / "report.txt").read_text().splitlines()
    assert "  passed  abandoned work is taken over" in report
    # What it does and does not declare is an error of the page as well.
    assert [line for line in report if line.strip().startswith(("failed", "warned"))] == []
    assert report[-1] in PAGE, "the page shows how many checks there were"


def test_the_test_on_the_page_is_eight_lines() -> None:
    (test,) = [block.text for block in blocks(PAGE) if block.name.endswith("test_spool.py")]
    code = [line for line in test.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(code) <= 8


@pytest.mark.parametrize(
    ("line", "sabotaged", "check"),
    [
        ("SET due = :now + :delay", "SET due = :now", "a_retry_waits_its_delay"),
        ("if row[:3] != (*self._me, int(attempt)):", "if row is ():", "a_stale_owner_cannot_settle"),
        ("suspect = suspect OR started", "suspect = 0", "started_work_comes_back_alone"),
    ],
)
def test_saboteur_a_transport_that_breaks_a_promise_fails_the_test_on_the_page(
    computer: Machine, line: str, sabotaged: str, check: str
) -> None:
    for block in blocks(PAGE):
        if block.name.startswith("hivebus-spool/"):
            computer.write(block.name, block.text)
    run = f"PYTHONPATH=$PYTHONPATH:$HOME/site python -m pytest -q -k {check} hivebus-spool"
    # In the environment of this test, with the package in a folder of its own beside it.
    computer.run("", "python -m pip install --quiet --no-deps --target site ./hivebus-spool")
    shown, code = computer.run("", run)
    assert (code, "1 passed" in shown) == (0, True), shown

    # pytest takes the module from the folder of the test.
    module = computer.home / "hivebus-spool" / "hivebus_spool.py"
    assert line in module.read_text()
    module.write_text(module.read_text().replace(line, sabotaged))
    shown, code = computer.run("", run)
    assert (code, "1 failed" in shown) == (1, True), shown
    assert f"{check}: " in shown
