"""Programs that write a ledger: processes of their own, since they are killed, and run out of disk."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

PRELUDE = """
import os, resource, signal, sys, time
from pathlib import Path
from hivebus_migration.facts import Attempt, Intent, Moment, Sighting, Spooled, Witness, now
from hivebus_migration.ledger import Ledger

path, name = Path(sys.argv[1]), sys.argv[2]

def message(number):
    at = now()
    message_id = f"{name}-{number}"
    intent = Intent(message_id, "dev", "pm", name, number, "event", 2, 1, "dualwrite", 1, "tmux",
                    {"redis": "f", "tmux": "f"}, at)
    return intent, Attempt(message_id, "dev", "redis", "streams", "accepted", None, 0.1), \\
        Attempt(message_id, "dev", "tmux", "safe", "accepted", None, 0.1)

def say(word):
    print(word, flush=True)

def hear(word):
    assert sys.stdin.readline().strip() == word
"""


class Writer(AbstractContextManager["Writer"]):
    """A program at work; it is killed at the end of the block if it has not ended."""

    def __init__(self, path: Path, program: str, *, name: str = "w") -> None:
        words = [sys.executable, "-W", "ignore", "-c", PRELUDE + program, str(path), name]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self, word: str) -> None:
        """Wait until it says so."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said == word, f"the writer said {said!r}"

    def say(self, word: str) -> None:
        """Tell it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end, and return how it ended."""
        return self.process.wait(60)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
