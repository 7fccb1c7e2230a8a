"""Ids and times for a sender of many messages, without a system call for each."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from time import time_ns


class Stamps:
    """One per bus: a source of version 4 UUIDs, and a clock that is written out once per millisecond.

    The generator is seeded by the system and used by one process only; an id must be unique, it need
    not be a secret.
    """

    def __init__(self) -> None:
        self._bits = Random().getrandbits
        self._millisecond = -1
        self._text = ""

    def message_id(self) -> str:
        """Return a new message id."""
        text = f"{self._bits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[self._bits(2)]}{text[17:20]}-{text[20:]}"

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
