r"""A marked block in somebody else's file: put there, brought up to date, and taken out again.

All else in the file stays byte for byte, and what `put` adds says by itself what `take` has to leave behind: a file
without a final newline gets a block without one, and only a file that did not exist ends with its first block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hivebus.errors import ConfigError

_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Markers:
    """The two lines around the block."""

    begin: str
    end: str


MARKDOWN = Markers("<!-- hivebus:begin -->", "<!-- hivebus:end -->")
HASH = Markers("# hivebus:begin", "# hivebus:end")


def put(before: bytes | None, text: str, *, markers: Markers, where: str) -> bytes:
    """Return the file with *text* between the markers; None is no file.

    Raises:
        ConfigError: the markers that are there make no sense, or it is no text; *where* names the file.
    """
    lines = [markers.begin, *text.rstrip("\n").split("\n"), markers.end]
    if before is None:
        return _joined(lines, b"\n") + b"\n"
    span = _find(before, markers, where)
    if span:
        start, end = span
        return before[:start] + _joined(lines, _line_end(before[start:end])) + before[end:]
    line_end = _line_end(before)
    block = _joined(lines, line_end)
    if before in (b"", _BOM):
        return before + block
    if before.endswith(b"\n"):
        return before + line_end + block + line_end
    return before + line_end + line_end + block


def take(before: bytes, *, markers: Markers, where: str) -> bytes | None:
    """Return the file as it was without the block; None when there was no file."""
    span = _find(before, markers, where)
    if not span:
        return before
    head, block, tail = before[: span[0]], before[span[0] : span[1]], before[span[1] :]
    line_end = _line_end(block)
    open_ended = not tail
    tail = tail.removeprefix(line_end)
    if head not in (b"", _BOM):
        head = head.removesuffix(line_end)
        return head.removesuffix(line_end) if open_ended else head + tail
    return head + tail if head or tail or open_ended else None


def inside(before: bytes | None, *, markers: Markers, where: str) -> str | None:
    """Return what stands between the markers; None without them."""
    span = _find(before, markers, where) if before else None
    return before[span[0] : span[1]].decode(errors="replace") if before and span else None


def _find(data: bytes, markers: Markers, where: str) -> tuple[int, int] | None:
    """Return from where to where the block goes, markers included, the end of its last line not."""
    if data.startswith(_WIDE) or b"\0" in data:
        raise ConfigError(f"{where} is no UTF-8 text", hint=f"save {where} as UTF-8, or move it away")
    begins, ends = (_lines(data, marker) for marker in (markers.begin, markers.end))
    if not begins and not ends:
        return None
    if len(begins) == len(ends) == 1 and begins[0].end() < ends[0].start():
        return begins[0].start(), ends[0].end()
    first = min(each.start() for each in (*begins, *ends))
    line = data.count(b"\n", 0, first) + 1
    raise ConfigError(
        f"{where}:{line}: cannot tell where the block of hivebus begins and ends",
        cause=f"there has to be one line {markers.begin!r} and one line {markers.end!r} after it",
        hint="remove both lines and what belongs between them, then run the command again",
    )


def _lines(data: bytes, marker: str) -> list[re.Match[bytes]]:
    # A line begins behind a byte order mark, too.
    pattern = rb"(?:^|(?<=" + _BOM + rb"))" + re.escape(marker.encode()) + rb"(?=\r?$)"
    return list(re.finditer(pattern, data, flags=re.MULTILINE))


def _joined(lines: list[str], line_end: bytes) -> bytes:
    return line_end.join(line.encode() for line in lines)


def _line_end(data: bytes) -> bytes:
    """Return how the first line ends."""
    line, newline, _ = data.partition(b"\n")
    return b"\r\n" if newline and line.endswith(b"\r") else b"\n"
