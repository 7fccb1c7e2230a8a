"""The programs that agents run in: which files of a project they read, and what hivebus writes there.

Claude Code reads CLAUDE.md, and `.claude/settings.json` for what it may do without asking. Codex reads AGENTS.md, and
in a project that its user trusts the rules in `.codex/rules/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hivebus.cli.agent_files import block, json_list
from hivebus.cli.agent_files.snippet import snippet
from hivebus.cli.changes import Change, read

SETTINGS = ".claude/settings.json"
ENTRIES: Mapping[str, str] = {"allow": "Bash(hivebus:*)", "ask": "Bash(hivebus *--exec*)"}
"""By list of the permissions. `receive --exec` runs any command there is, so it asks, whatever else is allowed."""

RULES = ".codex/rules/hivebus.rules"
RULE = """\
# Written by `hivebus agent install codex`; `hivebus agent uninstall codex` removes it.
prefix_rule(
    pattern = [
        "hivebus",
        ["ack", "agents", "ask", "extend", "inbox", "receive", "reject", "reply", "retry", "send", "trace"],
    ],
    decision = "allow",
    justification = "messages between agents",
    match = ["hivebus receive", "hivebus ack 1f0c"],
    not_match = ["hivebus queues trim", "hivebus-other receive"],
)
prefix_rule(pattern = ["hivebus", "agent", "whoami"], decision = "allow")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One of them.

    Attributes:
        title: what people call it.
        page: the file of instructions that it reads.
        install: what to change in a project, for an agent's name; uninstall: what to change back.
        notes: what a person still has to know or to do.
    """

    title: str
    page: str
    install: Callable[[Path, str | None], Sequence[Change]]
    uninstall: Callable[[Path], Sequence[Change]]
    notes: Sequence[str]


# --- Claude Code ---------------------------------------------------------------------------------------


def _install_claude(project: Path, agent: str | None) -> Sequence[Change]:
    page, settings = read(project, CLAUDE.page), read(project, SETTINGS)
    where = str(settings.path)
    known = _known(page)
    content, kept = settings.before, []
    for name, entry in ENTRIES.items():
        # What was there before us is not ours to take away; the block remembers that.
        was_there = known is None or name in _kept(known)
        if was_there and json_list.holds(content, ("permissions", name), entry, where=where):
            kept.append(name)
        content = json_list.add(content, ("permissions", name), entry, where=where)
    return [_with_block(page, agent, kept), settings.to(content)]


def _uninstall_claude(project: Path) -> Sequence[Change]:
    page, settings = read(project, CLAUDE.page), read(project, SETTINGS)
    known = _known(page)
    # Without a block, nothing says that what is allowed there came from here.
    kept = [*ENTRIES] if known is None else _kept(known)
    content = settings.before
    for name, entry in reversed([*ENTRIES.items()]):
        if content is not None and name not in kept:
            content = json_list.remove(content, ("permissions", name), entry, where=str(settings.path))
    return [_without_block(page, block.MARKDOWN), settings.to(content)]


# --- Codex -------------------------------------------------------------------------------------------------


def _install_codex(project: Path, agent: str | None) -> Sequence[Change]:
    page, rules = read(project, CODEX.page), read(project, RULES)
    # One page may serve both programs, as a link: what the other one has to remember stays.
    kept = _kept(_known(page))
    allowed = block.put(rules.before, RULE, markers=block.HASH, where=str(rules.path))
    return [_with_block(page, agent, kept), rules.to(allowed)]


def _uninstall_codex(project: Path) -> Sequence[Change]:
    page, rules = read(project, CODEX.page), read(project, RULES)
    return [_without_block(page, block.MARKDOWN), _without_block(rules, block.HASH)]


# --- The page of instructions ------------------------------------------------------------------------------


def _with_block(page: Change, agent: str | None, kept: Sequence[str]) -> Change:
    text = snippet(agent) + (f"<!-- hivebus:kept {' '.join(kept)} -->\n" if kept else "")
    return page.to(block.put(page.before, text, markers=block.MARKDOWN, where=str(page.path)))


def _without_block(file: Change, markers: block.Markers) -> Change:
    if file.before is None:
        return file
    return file.to(block.take(file.before, markers=markers, where=str(file.path)))


def _known(page: Change) -> str | None:
    return block.inside(page.before, markers=block.MARKDOWN, where=str(page.path))


def _kept(known: str | None) -> list[str]:
    found = re.search(r"^<!-- hivebus:kept ([a-z ]+) -->\r?$", known or "", flags=re.MULTILINE)
    return found[1].split() if found else []


CLAUDE = Program(
    title="Claude Code",
    page="CLAUDE.md",
    install=_install_claude,
    uninstall=_uninstall_claude,
    notes=("start Claude Code anew in that folder: it runs hivebus without asking, and asks for --exec",),
)
CODEX = Program(
    title="Codex",
    page="AGENTS.md",
    install=_install_codex,
    uninstall=_uninstall_codex,
    notes=(
        f"start Codex anew in that folder, and trust the project: only then it reads {RULES}",
        "a rule sees how a command begins and no further: it allows hivebus receive with --exec, too",
    ),
)
PROGRAMS: Mapping[str, Program] = {"claude": CLAUDE, "codex": CODEX}
"""By the name that the command line has for them."""
