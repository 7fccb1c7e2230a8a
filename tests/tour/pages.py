"""Runs a page of the documentation: what it shows is what happens.

A block ```` ```console ```` holds commands (``$ ``) with the output that a terminal shows; with a word behind it,
as in ```` ```console worker ````, it belongs to a terminal of its own. Any other block is a file, whose name stands
behind the language, as in ```` ```python worker.py ````. Ids, times, versions and folders may differ from the page,
but an id that the page shows twice must be one id.

After a change on purpose: ``python -m tests.tour.pages docs/tutorial.md`` writes what happens into the page.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .machines import Machine, machine

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
LOOSE = (
    # A shell says that a job ended, at a moment of its choice.
    (r"(?m)^\[\d+\][+-] .*\n", ""),
    (UUID, "<id>"),
    (r"\b[0-9a-f]{8}\b", "<id>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"),
    (r"\b\d+(?:\.\d+)?[smhd]\b", "<duration>"),
    (r"\bpid +\d+", "pid <number>"),
    (r"\S*/(?:valkey|redis)-server", "<program>"),
    (r"(?:(?:valkey|redis) )?\b\d+\.\d+\.\d+\S*", "<version>"),
    (r"\b\d+ (passed|skipped|deselected)", r"some \1"),
    (r"(?m)^[.s]+ +\[ *\d+%\]$", "<progress>"),
    (r"  +", "  "),
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the word behind it, its text, and where the text stands in the page."""

    language: str
    name: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Step:
    """One command of a console block and what the page shows for it."""

    command: str
    output: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = re.finditer(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [Block(each[1], each[2] or "", each[3], each.start(3), each.end(3)) for each in found]


def steps(text: str) -> list[Step]:
    """Return the commands of a console block; ``> `` goes on with the command of the line before."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert parts[0] == "", f"a console block begins with a command, not with {parts[0]!r}"
    found = []
    for part in parts[1:]:
        command, _, output = part.partition("\n")
        while output.startswith("> "):
            more, _, output = output[2:].partition("\n")
            command = f"{command}\n{more}"
        found.append(Step(command, output))
    return found


class Walk:
    """Goes through a page from top to bottom."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._ids: dict[str, str] = {}
        self.failure = ""

    def take(self, block: Block) -> tuple[str, str]:
        """Do what a block says; return what the page says, with real ids in it, and what happened."""
        if block.language != "console":
            assert block.name, f"nobody runs this {block.language} block, since it has no name: {block.text}"
            self._machine.write(block.name, block.text)
            return block.text, block.text
        happened = "".join(self._step(block.name, step) for step in steps(block.text))
        return self._with_real_ids(block.text), happened

    def with_ids_of_the_page(self, text: str) -> str:
        """Return *text* with the real ids replaced by those that stand on the page."""
        for on_page, real in self._ids.items():
            text = text.replace(real, on_page).replace(real[:8], on_page[:8])
        return text

    def _step(self, terminal: str, step: Step) -> str:
        command = self._with_real_ids(step.command)
        assert not self.failure or "$?" in command, self.failure
        shown, code = self._machine.run(terminal, command)
        self.failure = f"exit code {code} of {command!r}, which showed {shown}" if code else ""
        for on_page, real in zip(re.findall(UUID, step.output), re.findall(UUID, shown), strict=False):
            self._ids.setdefault(on_page, real)
        prompt = command.replace("\n", "\n> ")
        return f"$ {prompt}\n{shown}"

    def _with_real_ids(self, text: str) -> str:
        """Return *text* with the ids of the page, and beginnings of them, replaced by the real ones."""

        def real(match: re.Match[str]) -> str:
            found = [other for own, other in self._ids.items() if own.startswith(match[0])]
            return found[0][: len(match[0])] if len(found) == 1 else match[0]

        return re.sub(rf"{UUID}|\b[0-9a-f]{{8}}\b", real, text)


def follow(page: str, computer: Machine) -> None:
    """Do all that a page says, and fail where something else happens than it shows."""
    walk = Walk(computer)
    for block in blocks(page):
        shown_on_the_page, happened = walk.take(block)
        assert loosely(happened) == loosely(shown_on_the_page)
    assert walk.failure == ""


def loosely(text: str) -> str:
    """Return *text* without what differs from run to run."""
    ids: dict[str, str] = {}
    text = re.sub(UUID, lambda match: ids.setdefault(match[0], f"<id {len(ids)}>"), text)
    for pattern, word in LOOSE:
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def update(path: Path, servers: Mapping[str, str]) -> None:
    """Write what happens into the page."""
    page = path.read_text()
    parts, at = [], 0
    with machine(servers) as made:
        if "-m venv" not in page:
            made.install()
        walk = Walk(made)
        for block in blocks(page):
            expected, happened = walk.take(block)
            same = loosely(expected) == loosely(happened)
            parts += [page[at : block.start], block.text if same else walk.with_ids_of_the_page(happened)]
            at = block.end
    path.write_text("".join([*parts, page[at:]]))


if __name__ == "__main__":
    from tests.conftest import run_server

    program = shutil.which("redis-server")
    assert program, "apt-get install redis-server"
    for server in run_server("redis", program):
        update(Path(sys.argv[1]), {"redis://localhost:6379": server.url})
