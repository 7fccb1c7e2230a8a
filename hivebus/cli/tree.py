"""A conversation as a tree of lines, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hivebus.address import owner_of
from hivebus.cli.output import bold, cell, line, preview, shown_ids, terminal_width
from hivebus.message_status import status_of
from hivebus.threads import Turn

WIDEST = 60
"""How many characters of a message are shown at most."""


def show_thread(thread: Sequence[Turn], *, traced: str) -> None:
    """Print a line for each message, below the one that it answers; the traced one stands out."""
    line()
    line(f"conversation of {len(thread)} messages")
    ids = shown_ids([turn.message.message_id for turn in thread])
    room = terminal_width() if sys.stdout.isatty() else None
    for index, (turn, shown) in enumerate(zip(thread, ids, strict=True)):
        text = f"{_branch(thread, index)}{_words(turn, shown)}"
        text = text if room is None or len(text) <= room else f"{text[: room - 1]}…"
        sys.stdout.write(f"{bold(text) if turn.message.message_id == traced else text}\n")


def thread_facts(thread: Sequence[Turn]) -> list[dict[str, Any]]:
    """Return the messages as they stand in JSON output."""
    return [
        {
            "message_id": turn.message.message_id,
            "correlation_id": turn.message.correlation_id,
            "depth": turn.depth,
            "from_agent": turn.message.from_agent,
            "to_agent": _to(turn),
            "message_type": turn.message.message_type,
            "timestamp": turn.message.timestamp.isoformat().replace("+00:00", "Z"),
            "state": _state(turn),
            "hops": turn.message.hops,
            "content": turn.message.content,
        }
        for turn in thread
    ]


def _branch(thread: Sequence[Turn], index: int) -> str:
    """Return the lines of the tree in front of a message."""
    depth = thread[index].depth
    if depth == 0:
        return ""
    bars = "".join("│  " if _goes_on(thread, index, level) else "   " for level in range(1, depth))
    return f"{bars}{'├─ ' if _goes_on(thread, index, depth) else '└─ '}"


def _goes_on(thread: Sequence[Turn], index: int, depth: int) -> bool:
    """Tell whether behind this message another one stands at *depth*, below the same one."""
    following = (turn.depth for turn in thread[index + 1 :])
    return next((each == depth for each in following if each <= depth), False)


def _words(turn: Turn, shown: str) -> str:
    message, to = turn.message, _to(turn)
    names = to if isinstance(to, str) else ",".join(to)
    said = cell(preview(message.content, limit=WIDEST))
    return f"{shown}  {message.from_agent} -> {names}  {message.message_type}  {_state(turn)}  {said}"


def _to(turn: Turn) -> str | tuple[str, ...]:
    to = turn.message.to_agent
    return owner_of(to) if isinstance(to, str) else to


def _state(turn: Turn) -> str:
    return status_of(turn.message.message_id, turn.places).state
