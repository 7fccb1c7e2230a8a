"""What a command prints: rows for people, tab-separated rows for pipes, JSON for programs.

Message text comes from other agents, so nothing of it may command the terminal: control characters
are shown as escapes in rows and text. JSON escapes them too, and a JSON parser gives them back.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from json.encoder import JSONEncoder
from typing import Any, TextIO

# C0 but for tab and newline, DEL, C1, and the characters that reorder a line as it is shown.
_HOSTILE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_hostile = re.compile(f"[{_HOSTILE}]").sub
_hostile_in_cell = re.compile(f"[{_HOSTILE}\t\n]").sub
_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

SHORT_ID = 8


def safe(text: str) -> str:
    """Return *text* with every control character but tab and newline shown as an escape."""
    return _hostile(_visible, text)


def cell(value: object) -> str:
    """Return *value* as it stands in a row: one line, no control characters, ``-`` for nothing."""
    return "-" if value is None else _hostile_in_cell(_visible, str(value))


def line(text: str = "") -> None:
    """Print one line, or a text of several, on stdout."""
    sys.stdout.write(f"{safe(text)}\n")


def warn(text: str) -> None:
    """Say on stderr what went wrong, also to who asked for quiet."""
    sys.stderr.write(f"{safe(text)}\n")


def document(command: str, facts: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout, with the schema of *command*."""
    json_line({"schema": f"hivebus.{command}/1", **facts})


def json_line(facts: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of stdout."""
    sys.stdout.write(f"{json_text(facts)}\n")


def json_text(facts: object) -> str:
    """Return JSON that is safe on a terminal and means the same to a parser."""
    # Those characters stand inside JSON strings only, where an escape is another way to write them.
    return _hostile(lambda match: f"\\u{ord(match[0]):04x}", _encode(facts))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print *rows*: aligned under *head* on a terminal, tab-separated without it otherwise."""
    cells = [[cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(row) + "\n" for row in cells)
        return
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    room = terminal_width()
    for number, row in enumerate([list(head), *cells]):
        text = "  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)).rstrip()
        text = text if len(text) <= room else f"{text[: room - 1]}…"
        sys.stdout.write(f"{bold(text) if number == 0 else text}\n")


def shown_ids(ids: Sequence[str]) -> list[str]:
    """Return *ids* for a table: whole in a pipe, and on a terminal as much as tells them apart."""
    if not sys.stdout.isatty():
        return list(ids)
    length = SHORT_ID
    while len({each[:length] for each in ids}) < len(set(ids)):
        length += 1
    return [each[:length] for each in ids]


def bold(text: str, *, stream: TextIO | None = None) -> str:
    """Return *text* in bold where the stream shows it, and NO_COLOR is not set."""
    stream = stream or sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\x1b[1m{text}\x1b[0m"


def terminal_width() -> int:
    """Return how many characters a line of the terminal holds."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def duration(value: float | None) -> str | None:
    """Return seconds as people say them: ``4s``, ``2m``, ``3h``, ``5d``."""
    if value is None:
        return None
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if value >= size:
            return f"{int(value // size)}{unit}"
    return f"{max(0, int(value))}s"


def preview(content: object, *, limit: int = 80) -> str:
    """Return the beginning of a message's content."""
    text = content if isinstance(content, str) else json_text(content)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
