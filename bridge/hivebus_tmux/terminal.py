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
    """The terminal of this process, while it is ours.

    Attributes:
        has_brackets: whether it has said that pastes are bracketed.
    """

    def __init__(self, source: int, target: int, stopped: int) -> None:
        self._source = source
        self._target = target
        self._stopped = stopped
        self.has_brackets = False
        self._over = False

    def ask_for_brackets(self) -> bytes:
        """Ask that pastes be bracketed, and return what came in until that is so."""
        self._write(_BRACKETS_ON + _ARE_YOU_THERE)
        early = b""
        # It answers in the order of the questions. One that is late, or never does, is not waited for.
        while not self.has_brackets and self._wait(within=PATIENCE):
            early += self._read()
        return early

    def read(self) -> bytes:
        """Return what came in; nothing when the terminal is over, or a signal says stop."""
        while self._wait():
            if data := self._read():
                return data
        return b""

    def _wait(self, *, within: float | None = None) -> bool:
        """Tell whether there is something to read, as soon as there is."""
        ready, _, _ = select.select([self._source, self._stopped], [], [], within)
        return not self._over and self._source in ready and self._stopped not in ready

    def _read(self) -> bytes:
        try:
            data = os.read(self._source, CHUNK)
        except OSError:
            data = b""  # the window was closed
        self._over = not data
        if not self.has_brackets and _I_AM in data:
            self.has_brackets = True
            return data.replace(_I_AM, b"", 1)
        return data

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
