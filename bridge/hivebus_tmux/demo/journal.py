"""What an agent of the demo did, line by line in a file of its own, outside the server that it judges.

Each line is one write to a file opened for appending, so that it survives `kill -9` of the agent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SENDING, SENT, STARTED, HANDLED = "sending", "sent", "started", "handled"


class Journal:
    """The journal of one agent; several processes of it, one after the other, append to the same file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, event: str, message_id: str, **facts: Any) -> None:
        """Append one line."""
        os.write(self._file, json.dumps({"event": event, "id": message_id, **facts}).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal; one that is still being written is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)
