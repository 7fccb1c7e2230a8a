"""`hivebus demo`: shows on this machine, with real processes and windows, what each road delivers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command
from hivebus.cli.output import document
from hivebus_tmux.demo import showing
from hivebus_tmux.demo.cast import hivebus
from hivebus_tmux.demo.story import ALONE, tell
from hivebus_tmux.demo.two_roads import URL, compare_roads


@command("demo", examples=["hivebus demo", "hivebus demo --json"], bus=False)
@click.option("--keep", is_flag=True, help="Leave journals, ledgers and logs where they are.")
def demo(app: App, *, keep: bool) -> ExitCode:
    """Show it working: six agents on two roads, one of them killed.

    First as today: 300 messages are typed into the windows of six agents on a private tmux server, as
    scripts do it now, with copies to Redis. Then live: Redis acts, the same messages are mirrored into
    windows for people, and one agent is killed (kill -9) while it handles some. All counts are taken from
    what the agents and windows wrote down themselves. Takes a minute and a quarter, and cleans up.

    Without tmux only the durable road is shown, with 2,400 messages.
    """
    with _stage(keep=keep) as (folder, environment):
        shown: showing.TwoRoads | showing.OneRoad
        if shutil.which("tmux"):
            app.note("a private server, a private tmux, six agents, one kill -9: a minute and a quarter")
            shown = showing.TwoRoads(*compare_roads(folder, environment=environment, progress=app.note))
        else:
            app.note("there is no tmux on PATH, so the Redis road is shown alone: about half a minute")
            shown = showing.OneRoad(tell(URL, folder, scale=ALONE, environment=environment, progress=app.note))
        if keep:
            app.note(f"journals, ledgers and logs: {folder}")
    if app.as_json:
        document("demo", {"phases": shown.facts()})
    else:
        shown.show()
    return ExitCode.OK if shown.is_proof else ExitCode.CHECK_FAILED


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
        # Through its command, since this package knows no server.
        subprocess.run(
            hivebus(["down", "--quiet"]), env={**os.environ, **environment}, capture_output=True, check=False
        )
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
