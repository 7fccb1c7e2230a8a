"""A terminal that hands over every byte as it comes, and is put back as it was in the end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from types import FrameType
from typing import Any

from hivebus.errors import ConfigError

CHUNK = 65536
PATIENCE = 1.0
_BRACKETS_ON = b"\x1b[?2004h"
_BRACKETS_OFF = b"\x1b[?2004l"
_ARE_YOU_THERE = b"\x1b[5n"
_I_AM = b"\x1b[0n"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Terminal:
    """The terminal of this process, while it is ours."""

    def __init__(self, source: int, target: int, stopped: int) -> None:
        self._source = source
        self._target = target
        self._stopped = stopped

    def ask_for_brackets(self) -> bytes:
        """Ask that pastes be bracketed, and return what came in until that is so."""
        self._write(_BRACKETS_ON + _ARE_YOU_THERE)
        early = b""
        # The answer comes in the order of the questions; a terminal that never gives it does brackets or does not.
        while _I_AM not in early and (more := self.read(within=PATIENCE)):
            early += more
        return early.replace(_I_AM, b"", 1)

    def read(self, *, within: float | None = None) -> bytes:
        """Return what is there; nothing when the time or the terminal is over, or a signal says stop."""
        ready, _, _ = select.select([self._source, self._stopped], [], [], within)
        if self._source not in ready or self._stopped in ready:
            return b""
        try:
            return os.read(self._source, CHUNK)
        except OSError:
            return b""  # the window was closed

    def leave(self) -> None:
        """Pastes need no brackets any more."""
        self._write(_BRACKETS_OFF)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._target, data)


@contextlib.contextmanager
def raw_terminal() -> Iterator[Terminal]:
    """Take over the terminal on stdin and stdout; raises `ConfigError` when there is none."""
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    try:
        before = termios.tcgetattr(source)
    except termios.error:
        raise ConfigError("there is no terminal to read from", hint="run it in a window of tmux") from None
    with _signals() as stopped:
        # Not flushed: what was typed before belongs to somebody.
        termios.tcsetattr(source, termios.TCSANOW, _raw(before))
        terminal = Terminal(source, target, stopped)
        try:
            yield terminal
        finally:
            terminal.leave()
            with contextlib.suppress(termios.error):
                termios.tcsetattr(source, termios.TCSANOW, before)


def _raw(attributes: list[Any]) -> list[Any]:
    """Return *attributes* with all bytes handed over at once and none acted upon; output stays as it is."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = attributes
    iflag &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP | termios.BRKINT)
    lflag &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    characters = list(cc)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Give a descriptor that can be read as soon as a signal asked to stop."""
    reading, writing = os.pipe()

    def stop(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(writing, b"x")

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
