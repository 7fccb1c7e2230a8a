"""The page on language models is true: what it shows is what happens."""

from __future__ import annotations

from .machines import ROOT, Machine
from .pages import blocks, follow

PAGE = (ROOT / "docs" / "llm-agents.md").read_text()


def test_the_page_shows_what_happens(computer: Machine) -> None:
    computer.install()
    follow(PAGE, computer)
    assert (computer.home / "shop" / "CLAUDE.md").read_text() == blocks(PAGE)[1].text
    assert [each.name for each in (computer.home / "shop").iterdir()] == ["CLAUDE.md"]
