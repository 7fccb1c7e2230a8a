"""Finds messages in the bytes that a terminal hands over, in whatever pieces they come."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hivebus_tmux.frames import Read, read_paste, read_typed

BEGIN = b"\x1b[200~"
END = b"\x1b[201~"
INTERRUPT = b"\x03"
LAST_OF_LEGACY = b"]"
LONGEST_PASTE = 2 * 1024 * 1024
LONGEST_TYPED = 256 * 1024
"""Bytes that are kept while a message has no end yet; no driver writes more in one piece."""

# The safe driver writes none of these: here its paste ended without saying so, or it was never one of its.
_foreign = re.compile(rb"[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f]|" + re.escape(BEGIN)).search


class Stream:
    """Takes bytes and gives messages.

    Between the brackets of a paste stand safe frames; elsewhere the predecessor's text, before which its
    flow sends an interrupt. What is neither is dropped.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._pasting = False
        self._clean = 0
        self._typed = b""

    @property
    def pasting(self) -> bool:
        """Whether a paste has begun and not ended yet."""
        return self._pasting

    def feed(self, data: bytes) -> list[Read]:
        """Return the messages that *data* completes."""
        self._pending += data
        found: list[Read] = []
        while (step := self._paste() if self._pasting else self._between()) is not None:
            found += step
        return found

    def finish(self) -> list[Read]:
        """Return what can be told of a paste that never ended."""
        cut, self._pending = self._pending, b""
        return list(read_paste(cut)) if self._pasting else []

    def _between(self) -> list[Read] | None:
        """Return what was found before the next paste, or None when more bytes are needed."""
        before, bracket, after = self._pending.partition(BEGIN)
        if bracket:
            self._pending, self._pasting = after, True
            return self._type(before)
        kept = _beginning(before, BEGIN)
        self._pending = before[len(before) - kept :]
        typed = before[: len(before) - kept]
        return self._type(typed) if typed else None

    def _paste(self) -> list[Read] | None:
        """Return what a paste held, or None while its end has not come."""
        end = self._pending.find(END, self._clean)
        content = self._pending if end < 0 else self._pending[:end]
        if foreign := _foreign(content, self._clean):
            cut = list(read_paste(content[: foreign.start()]))
            self._leave(self._pending[foreign.start() if cut else 0 :])
            return cut or self._type(BEGIN)
        if end >= 0:
            self._leave(self._pending[end + len(END) :])
            return list(read_paste(content))
        if len(content) > LONGEST_PASTE:
            self._leave(b"")
        # What was looked at need not be looked at again, but for the beginning of a mark.
        self._clean = max(0, len(self._pending) - len(END) + 1)
        return None

    def _leave(self, rest: bytes) -> None:
        self._pending, self._pasting, self._clean = rest, False, 0

    def _type(self, typed: bytes) -> list[Read]:
        found: list[Read] = []
        for part in _parts(typed):
            if part == INTERRUPT:
                # What was being typed is given up, by people and by the legacy flow.
                self._typed = b""
                continue
            self._typed += part
            if LAST_OF_LEGACY in part:
                more, self._typed = read_typed(self._typed)
                found += more
            self._typed = self._typed[-LONGEST_TYPED:]
        return found


def _parts(typed: bytes) -> Iterator[bytes]:
    """Yield interrupts, and what stands between them."""
    return (part for part in re.split(b"(%b)" % re.escape(INTERRUPT), typed) if part)


def _beginning(data: bytes, mark: bytes) -> int:
    """Return how many of the last bytes of *data* may be the beginning of *mark*."""
    return next((size for size in range(len(mark) - 1, 0, -1) if data.endswith(mark[:size])), 0)
