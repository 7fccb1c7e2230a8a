"""Ids and times for a sender of many messages, without a system call for each."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time_ns

from hivebus.envelope import new_message_id

HEAD = 8
"""Digits of an id that are another for each message of a bus."""
STEP = 0x9E3779B1
"""Odd, so that it meets every number of that many digits once; large, so that neighbours do not look alike."""
EVERY = 16**HEAD


class Stamps:
    """One per bus: a source of version 4 UUIDs, and a clock that is written out once per millisecond.

    The ids of one bus share a random tail of 90 bits, which other buses do not have, and their heads never
    meet; an id must be unique, it need not be a secret.
    """

    def __init__(self) -> None:
        self._first = 0
        self._tail = ""
        self._head = self._begin()
        self._millisecond = -1
        self._text = ""

    def message_id(self) -> str:
        """Return a new message id."""
        self._head = head = (self._head + STEP) % EVERY
        if head == self._first:
            # All heads are used up.
            self._head = head = self._begin()
        return f"{head:08x}{self._tail}"

    def now(self) -> str:
        """Return the sender's time in UTC, as messages carry it."""
        millisecond = time_ns() // 1_000_000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            moment = datetime.fromtimestamp(millisecond / 1000, UTC)
            # A whole second has no fraction, as in every other timestamp of ours.
            fraction = f".{millisecond % 1000:03d}000" if millisecond % 1000 else ""
            self._text = f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
        return self._text

    def _begin(self) -> int:
        seed = new_message_id()
        self._first = int(seed[:HEAD], 16)
        self._tail = seed[HEAD:]
        return self._first
