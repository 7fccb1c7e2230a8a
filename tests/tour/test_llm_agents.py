"""The page on language models is true: what it shows is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .machines import ROOT, Machine, machine
from .pages import Walk, blocks, loosely

PAGE = (ROOT / "docs" / "llm-agents.md").read_text()


@pytest.fixture
def computer(redis_server: Any) -> Iterator[Machine]:
    with machine({"redis://localhost:6379": redis_server.url}) as made:
        yield made


def test_the_page_shows_what_happens(computer: Machine) -> None:
    computer.install()
    walk = Walk(computer)
    for block in blocks(PAGE):
        shown_on_the_page, happened = walk.take(block)
        assert loosely(happened) == loosely(shown_on_the_page)
    assert walk.failure == ""
    assert (computer.home / "shop" / "CLAUDE.md").read_text() == blocks(PAGE)[1].text
    assert [each.name for each in (computer.home / "shop").iterdir()] == ["CLAUDE.md"]
