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
from hivebus.cli.agent_files.change import Change, Content, change
from hivebus.cli.agent_files.snippet import snippet

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
    kept: list[str] = []

    def permit(before: Content, where: str) -> Content:
        page = change(project, CLAUDE.page, _same)
        known = block.inside(page.before, markers=block.MARKDOWN, where=str(page.path))
        for name, entry in ENTRIES.items():
            # What was allowed before us is not ours to take away; the block remembers that.
            ours = known is not None and name not in _kept(known)
            if not ours and json_list.holds(before, ("permissions", name), entry, where=where):
                kept.append(name)
        for name, entry in ENTRIES.items():
            before = json_list.add(before, ("permissions", name), entry, where=where)
        return before

    settings = change(project, SETTINGS, permit)
    return [change(project, CLAUDE.page, _page(agent, kept)), settings]


def _uninstall_claude(project: Path) -> Sequence[Change]:
    page = change(project, CLAUDE.page, _without_block)
    known = block.inside(page.before, markers=block.MARKDOWN, where=str(page.path))
    kept = _kept(known or "")

    def forbid(before: Content, where: str) -> Content:
        for name, entry in reversed(ENTRIES.items()):
            if before is not None and name not in kept:
                before = json_list.remove(before, ("permissions", name), entry, where=where)
        return before

    return [page, change(project, SETTINGS, forbid)]


# --- Codex -------------------------------------------------------------------------------------------------


def _install_codex(project: Path, agent: str | None) -> Sequence[Change]:
    page = change(project, CODEX.page, _same)
    # One page may serve both programs, as a link: what the other one has to remember stays.
    known = block.inside(page.before, markers=block.MARKDOWN, where=str(page.path))
    rules = change(
        project, RULES, lambda before, where: block.put(before, RULE, markers=block.HASH, where=where)
    )
    return [change(project, CODEX.page, _page(agent, _kept(known or ""))), rules]


def _uninstall_codex(project: Path) -> Sequence[Change]:
    def forbid(before: Content, where: str) -> Content:
        return None if before is None else block.take(before, markers=block.HASH, where=where)

    return [change(project, CODEX.page, _without_block), change(project, RULES, forbid)]


# --- The page of instructions ------------------------------------------------------------------------------


def _page(agent: str | None, kept: Sequence[str]) -> Callable[[Content, str], Content]:
    text = snippet(agent) + (f"<!-- hivebus:kept {' '.join(kept)} -->\n" if kept else "")
    return lambda before, where: block.put(before, text, markers=block.MARKDOWN, where=where)


def _without_block(before: Content, where: str) -> Content:
    return None if before is None else block.take(before, markers=block.MARKDOWN, where=where)


def _kept(known: str) -> list[str]:
    found = re.search(r"^<!-- hivebus:kept ([a-z ]+) -->\r?$", known, flags=re.MULTILINE)
    return found[1].split() if found else []


def _same(before: Content, where: str) -> Content:
    return before


CLAUDE = Program(
    title="Claude Code",
    page="CLAUDE.md",
    install=_install_claude,
    uninstall=_uninstall_claude,
    notes=(
        "start Claude Code anew in that folder: it runs hivebus commands without asking, and asks for those with --exec",
    ),
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
