"""Projects as people have them, before `hivebus agent install` writes into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hivebus.cli.agent_files.programs import ENTRIES, RULES, SETTINGS

Tree = dict[str, bytes]

ALLOW, ASK = ENTRIES["allow"], ENTRIES["ask"]
PAGE = {"claude": "CLAUDE.md", "codex": "AGENTS.md"}
GRANT = {"claude": SETTINGS, "codex": RULES}

PAGES: dict[str, bytes | None] = {
    "no file": None,
    "an empty file": b"",
    "a page": b"# Rules\n\nBe kind.\n",
    "no final newline": b"# Rules\n\nBe kind.",
    "blank lines at the end": b"# Rules\n\n\n",
    "only a newline": b"\n",
    "only a blank": b" ",
    "CRLF": b"# Rules\r\n\r\nBe kind.\r\n",
    "CRLF, no final newline": b"# Rules\r\n\r\nBe kind.",
    "CRLF first, LF last": b"# Rules\r\nBe kind.\n",
    "LF first, CRLF last": b"# Rules\nBe kind.\r\n",
    "a lone CR at the end": b"# Rules\nBe kind.\r",
    "BOM": b"\xef\xbb\xbf# Rules\n",
    "BOM and nothing else": b"\xef\xbb\xbf",
    "BOM, CRLF, no final newline": b"\xef\xbb\xbf# Rules\r\nBe kind.",
    "not UTF-8": b"# R\xe8gles\n",
    "unusual line separators": "a\u2028b\x0bc\x85d\n".encode(),
    "a page that speaks of the marks": b"Leave `<!-- hivebus:begin -->` alone.\n",
}
GRANTS: dict[str, bytes | None] = {
    "no file": None,
    "empty object": b"{}",
    "empty object, newline": b"{}\n",
    "empty object over two lines": b"{\n}\n",
    "other settings": b'{\n  "model": "opus",\n  "env": {"A": "1"}\n}\n',
    "other entries": b'{\n  "permissions": {\n    "allow": [\n      "Bash(git diff:*)",\n      "WebSearch"\n    ],\n'
    b'    "deny": ["Read(.env)"]\n  },\n  "hooks": {}\n}\n',
    "no final newline": b'{\n  "permissions": {\n    "deny": []\n  }\n}',
    "four blanks": b'{\n    "permissions": {\n        "allow": [\n            "WebSearch"\n        ]\n    }\n}\n',
    "tabs and CRLF": b'{\r\n\t"permissions": {\r\n\t\t"allow": [\r\n\t\t\t"WebSearch"\r\n\t\t]\r\n\t}\r\n}\r\n',
    "one line": b'{"permissions": {"allow": ["WebSearch"]}, "z": 1}',
    "minified": b'{"a":{"b":[1,2]},"permissions":{"ask":["Bash(rm:*)"]}}',
    "blanks everywhere": b' \n{ "permissions" : { "allow" : [ "a" , "b" ] , "ask" : [ ] } , "z" : { } } \n',
    "empty lists": b'{\n  "permissions": {\n    "allow": [],\n    "ask": [\n    ]\n  }\n}\n',
    "empty permissions": b'{"permissions": {}}\n',
    "BOM": b'\xef\xbb\xbf{\n  "model": "opus"\n}\n',
    "strings that look like JSON": '{"ä": "[{\\"}", "permissions": {"allow": ["Bash(echo \\"]\\":*)"]}}'.encode(),
    "a key twice": b'{"permissions": {"deny": ["x"]}, "permissions": {"allow": ["y"]}}',
    "allowed before": json.dumps({"permissions": {"allow": ["WebSearch", ALLOW]}}, indent=2).encode(),
    "allowed before, nothing else": json.dumps({"permissions": {"allow": [ALLOW]}}, indent=2).encode(),
    "both before": json.dumps({"permissions": {"ask": [ASK], "allow": [ALLOW]}}, indent=2).encode(),
}
RULE_FILES: dict[str, bytes | None] = {
    "no file": None,
    "a rule": b'prefix_rule(pattern = ["git", "push"], decision = "prompt")\n',
    "a rule, CRLF, no final newline": b'# rules\r\nprefix_rule(pattern = ["git", "push"], decision = "prompt")',
}


def lay(folder: Path, files: dict[str, bytes | None]) -> None:
    for name, content in files.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def tree(folder: Path) -> Tree:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def folders(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_dir()}


def run(offline: Any, verb: str, program: str, project: Path, *more: str) -> Any:
    return offline.ok("agent", verb, program, "--dir", str(project), "--yes", "--json", *more).json


def allowed(project: Path) -> dict[str, list[str]]:
    settings = json.loads((project / SETTINGS).read_bytes().decode("utf-8-sig"))
    return {name: entries for name, entries in settings["permissions"].items() if name in ENTRIES}
