"""Says why an embedded server did not start, in the words of its own log."""

from __future__ import annotations

import os
from glob import glob

from hivebus.errors import Unavailable
from hivebus_redis.embedded import instance
from hivebus_redis.embedded.places import Places

LINES = 6


def log_size(places: Places) -> int:
    """Return where the log ends now, so that the lines of the next start can be told from older ones."""
    try:
        return os.path.getsize(places.log)
    except OSError:
        return 0


def log_since(places: Places, start: int) -> list[str]:
    """Return the lines that were logged after *start*."""
    try:
        with open(places.log, "rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def did_not_start(places: Places, *, program: str, said: str, since: int) -> Unavailable:
    """Return the error for a server that ended while it was starting."""
    lines = [line for line in said.splitlines() if line.strip()] + log_since(places, since)
    cause, hint = _explain("\n".join(lines), places, program)
    return Unavailable(
        f"the embedded server ended while it was starting; its last words:\n{_tail(lines)}\n", cause=cause, hint=hint
    )


def not_ready(places: Places, *, loading: bool, seconds: float, since: int) -> Unavailable:
    """Return the error for a server that runs and does not take commands yet."""
    doing = "still reads its data" if loading else "runs and does not answer"
    return Unavailable(
        f"the embedded server {doing} after {seconds:.0f} seconds; its log says:\n{_tail(log_since(places, since))}\n",
        cause="there is much to read, or the machine or disk is very busy" if loading else "it is paused, or hangs",
        hint=f"try again later; watch it with: tail -f {places.log}",
    )


def _tail(lines: list[str]) -> str:
    # That warning comes with every start on most machines, and is never the reason.
    telling = [f"    {line}" for line in lines if "overcommit" not in line]
    return "\n".join(telling[-LINES:]) or "    (nothing)"


def _explain(text: str, places: Places, program: str) -> tuple[str, str]:
    """Return the likely cause and the next step for what the server said."""
    before = instance.read(places)
    if ".base.rdb" in text and before and before.server != program:
        return (
            f"the messages were written by {before.version}, and {program} cannot read them",
            f"set HIVEBUS_SERVER_BIN={before.server}, or pip install --upgrade 'hivebus[embedded]'",
        )
    if "reading the append only file" in text:
        return "its file of messages is damaged", _repair(places, program)
    if "No space left on device" in text:
        return "the disk is full", f"make room for {places.data_dir}; what was acknowledged is there"
    if "Permission denied" in text:
        return "it may not use its files", f"correct the permissions in {places.data_dir}"
    return "see its words above", f"read {places.log}"


def _repair(places: Places, program: str) -> str:
    newest = max(
        glob(os.path.join(places.data_dir, "appendonlydir", "*.incr.aof")), key=os.path.getmtime, default="FILE"
    )
    # The server program is the repair tool too, when it is called by that name.
    return (
        f"copy {places.data_dir} first; then bash -c 'exec -a redis-check-aof {program} --fix {newest}' "
        "cuts off everything after the damage"
    )
