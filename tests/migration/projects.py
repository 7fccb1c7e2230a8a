"""Projects as they are before `hivebus compat install`, and what runs in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .commands import PATIENCE, PROGRAM

SCRIPT = "scripts/agent_communicate.py"
OLD: dict[str, bytes] = {
    "message_bus/__init__.py": b'"""Redis"""\r\nfrom .message_bus import MessageBus',
    "message_bus/message_bus.py": b"",
    "message_bus/README.md": b"# Bus\n",
    SCRIPT: "#!/usr/bin/env python3\nprint('📡')\n".encode(),
    "scripts/other.py": b"x = 1\n",
}
"""A project that has the bus of before, and the script of before that."""


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    found = sorted(folder.rglob("*"))
    return {str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None for each in found}


def compat(*words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "compat", *words]
    return subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False)


def compat_ok(verb: str, project: Path) -> dict[str, str]:
    done = compat(verb, "--dir", str(project), "--yes", "--json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    assert (facts["schema"], facts["dry_run"]) == (f"hivebus.compat.{verb}/1", False)
    return {each["file"]: each["action"] for each in facts["changes"]}


def python(project: Path, *words: str, program: str = sys.executable, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *words],
        cwd=project,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""} | env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
