"""`api.py` means what it says to a type checker: the right lines are right, and the wrong ones wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

API = Path(__file__).parent / "api.py"
IGNORED = re.compile(r"  # type: ignore\[.*\]$", re.MULTILINE)


def mypy(file: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(file)],
        cwd=API.parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    return done.stdout + done.stderr


def test_the_public_api_is_typed_as_it_is_used() -> None:
    assert mypy(API).startswith("Success")


def test_every_mistake_in_it_is_found(tmp_path: Path) -> None:
    """Saboteur: the same page without the excuses."""
    page = API.read_text()
    mistakes = [number for number, line in enumerate(page.splitlines(), 1) if IGNORED.search(line)]
    bare = tmp_path / "bare_api.py"
    bare.write_text(IGNORED.sub("", page))
    found = {int(number) for number in re.findall(r"bare_api\.py:(\d+): error", mypy(bare))}
    assert len(mistakes) > 10
    assert found == set(mistakes)
