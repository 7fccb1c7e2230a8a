"""The program for windows that people watch: shows the messages that come in, and runs none of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from hivebus.cli.output import bold, safe
from hivebus_tmux.frames import Read
from hivebus_tmux.own_pane import take_pastes
from hivebus_tmux.stream import Stream
from hivebus_tmux.terminal import Terminal, raw_terminal

END_OF_INPUT = b"\x04"


def watch(*, ready: Callable[[], None], took: Callable[[Read], None]) -> None:
    """Read until the window closes, a signal comes, or somebody types Ctrl-D twice.

    Nothing else that is typed ends it: the legacy flow sends a Ctrl-C before each message, and any
    letter may be part of one.

    Args:
        ready: called once, when nothing that is pasted from now on can be missed.
        took: called with each message, before it is shown.
    """
    stream = Stream()
    with raw_terminal() as terminal:
        early = terminal.ask_for_brackets()
        if terminal.has_brackets:
            take_pastes()
        ready()
        _take(stream.feed(early), took)
        for data in _pieces(terminal, stream):
            _take(stream.feed(data), took)
        _take(stream.finish(), took)


def show(read: Read) -> None:
    """Print one message for people."""
    facts = [time.strftime("%H:%M:%S"), read.sender or "unknown", read.message_type or read.driver, read.message_id]
    damaged = "" if read.whole else "  DAMAGED"
    say(f"{bold('  '.join(facts))}{damaged}\n{safe(read.text)}\n")


def say(text: str) -> None:
    """Print *text*, to a window that may have been closed."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        # What could not be shown is still in the buffer, and would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _pieces(terminal: Terminal, stream: Stream) -> Iterator[bytes]:
    ends = 0
    while data := terminal.read():
        # Only what comes alone is typed by somebody: inside a message it is a part of it.
        alone = not data.strip(END_OF_INPUT) and not stream.pasting
        ends = ends + len(data) if alone else 0
        if ends >= 2:
            return
        yield data


def _take(messages: Iterable[Read], took: Callable[[Read], None]) -> None:
    for message in messages:
        took(message)
        show(message)
