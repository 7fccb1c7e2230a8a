"""`hivebus demo`: shows on this machine, with real processes, that a killed agent loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command
from hivebus.cli.output import document, line
from hivebus.demo.story import AGENTS, LEASE, Story, tell

LEG = "redis"


@command("demo", examples=["hivebus demo", "hivebus demo --json"], bus=False)
@click.option("--keep", is_flag=True, help="Leave the journals and logs of the agents where they are.")
def demo(app: App, *, keep: bool) -> ExitCode:
    """Show it working: six agents, one killed, nothing lost.

    A private server is started for the demo, and six agents as processes send each other 2,400
    messages. One of them is killed (kill -9) while it handles some. All counts are taken from the
    journals that the agents keep in files of their own, not from the server. Takes half a minute,
    and cleans up.
    """
    with _stage(keep=keep) as (folder, environment):
        app.note("a private server, six agents, one kill -9: about half a minute")
        story = tell("embedded://", folder, environment=environment, progress=app.note)
        if keep:
            app.note(f"journals and logs: {folder}")
    if app.as_json:
        document("demo", {"phases": [_phase(story)]})
    else:
        _show(story)
    return ExitCode.OK if story.is_proof else ExitCode.CHECK_FAILED


@contextmanager
def _stage(*, keep: bool) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Yield a folder, and the environment in which the embedded server lives there and nowhere else."""
    folder = Path(tempfile.mkdtemp(prefix="hb-demo-"))
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environment = {"XDG_STATE_HOME": str(folder), "XDG_RUNTIME_DIR": str(runtime), "HIVEBUS_NAMESPACE": "demo"}
    try:
        yield folder, environment
    finally:
        _run(["down", "--quiet"], environment)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _run(words: list[str], environment: Mapping[str, str]) -> None:
    # Through its command, since the core knows no server.
    subprocess.run(
        [sys.executable, "-m", "hivebus.cli", *words],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=False,
    )


def _phase(story: Story) -> dict[str, Any]:
    tally = story.tally
    counts = ("sent", "claimed", "proven", "lost", "duplicated", "corrupted", "misdelivered", "unknown")
    leg = {name: getattr(tally, name) for name in counts}
    leg |= {f"p{nth}_ms": _rounded(tally.percentile(nth)) for nth in (50, 95, 99)}
    leg["loss_upper_bound"] = tally.upper_bound
    return {
        "name": "redis",
        "legs": {LEG: leg},
        "killed_in_flight": story.killed_in_flight,
        "redelivered": story.redelivered,
    }


def _show(story: Story) -> None:
    tally = story.tally
    rows = [
        ("sent", tally.sent, f"by {len(AGENTS)} agents in {story.seconds:.1f} s"),
        ("in flight at kill", story.killed_in_flight, f"{story.killed}, kill -9 after {story.killed_after:.1f} s"),
        ("redelivered", story.redelivered, f"of those, once its lease of {LEASE:g} s was over"),
        ("handled", tally.proven, "counted in the journals of the handlers"),
        ("handled twice", tally.duplicated, "killed between the work and its ack" if tally.duplicated else ""),
        ("corrupted", tally.corrupted, ""),
        ("lost", tally.lost, f"true loss below {_percent(tally.upper_bound)} with 95 % confidence"),
    ]
    for name, count, remark in rows:
        line(f"{name:<18}{count:>8,}   {remark}".rstrip())
    waits = "   ".join(f"p{nth} {_milliseconds(tally.percentile(nth))}" for nth in (50, 95, 99))
    line(f"{'send to handler':<18}{'':>8}   {waits}")


def _percent(share: float) -> str:
    # Rounded up: a bound may be too wide, never too narrow.
    return f"{int(share * 100_000 + 1) / 1000:.3f} %"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
