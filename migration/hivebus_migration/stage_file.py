"""The stages as they were last known here: a small file beside the ledger, for when the directory is away."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from hivebus_migration.stages import Stage, Stages, from_json, to_json


class StageFile:
    """What the processes of this machine last read from the directory of one bus.

    Args:
        ledger: the ledger beside which it lies.
        namespace: the bus, since several may share a ledger.
    """

    def __init__(self, ledger: Path, *, namespace: str) -> None:
        self.path = ledger.with_name(f"{ledger.name}.{namespace}.stages")

    def read(self) -> dict[str, Stage] | None:
        """Return the stages, or None when none were ever kept here."""
        try:
            kept = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict):
            return None
        return {name: stage for name, value in kept.items() if (stage := from_json(value))}

    def write(self, stages: Stages) -> None:
        """Keep the stages, unless they are those that stand there; a full disk only costs the memory of them."""
        if stages == self.read():
            return
        # Written aside and renamed, so that a reader never sees half of it.
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}-{os.urandom(4).hex()}")
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside.write_text(json.dumps({name: to_json(stage) for name, stage in stages.items()}))
            aside.replace(self.path)
