"""The same agents on two roads: first as today, with messages typed into windows, then live on the durable one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hivebus.errors import NotFound
from hivebus_migration.comparison import Comparison, compare
from hivebus_migration.facts import now
from hivebus_migration.records import read_records
from hivebus_tmux.commands import LINGER
from hivebus_tmux.demo.cast import AGENTS, Process, Scale, check_alive, hivebus, parts, run, running, wait_until
from hivebus_tmux.demo.story import Story, tell
from hivebus_tmux.place import parse_place
from hivebus_tmux.windows import open_window

URL = "embedded://"
SESSION = "agent-hive"
AS_TODAY = Scale(messages=50, rate=1.7, work=0)
LIVE = Scale(messages=80, rate=6.0, work=1.2, hit=3)
READY_WITHIN = 20.0
SETTLE_WITHIN = 5.0
"""Seconds after the last message for which copies are waited for; what is missing then is missing."""
QUIET = 2 * LINGER
"""Seconds without a new sighting after which no more are expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One half of the demo.

    Attributes:
        comparison: what its ledger says about both roads.
        seconds: from the first agent's start until all was settled.
        story: of the kill, where there was one.
    """

    name: str
    comparison: Comparison
    seconds: float
    story: Story | None = None

    @property
    def rate(self) -> float:
        """Messages a second, on average."""
        return self.comparison.messages / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a phase happens.

    Attributes:
        folder: for journals, logs and the ledger.
        legacy_url: the windows, and how they are written to.
        environment: of every process.
    """

    folder: Path
    legacy_url: str
    environment: Mapping[str, str]

    @property
    def ledger(self) -> Path:
        """The file in which both roads are compared."""
        return Path(self.environment["HIVEBUS_LEDGER"])


def compare_roads(
    folder: Path,
    *,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    as_today: Scale = AS_TODAY,
    live: Scale = LIVE,
) -> tuple[Phase, Phase]:
    """Run both phases on a tmux server of their own, which is gone afterwards."""
    with _tmux_server(folder) as socket:
        today = _setting(folder / "today", f"tmux://{SESSION}?socket_path={socket}&driver=legacy", environment)
        first = _as_today(today, as_today, progress)
        later = _setting(folder / "live", f"tmux://{SESSION}?socket_path={socket}&settle=50ms", environment)
        return first, _live(later, live, progress)


# --- The two phases --------------------------------------------------------------------------------


def _as_today(setting: Setting, scale: Scale, progress: Callable[[str], None]) -> Phase:
    """The windows act, written by the legacy flow; copies go to the shadow inboxes."""
    run(["migrate", "start", *AGENTS, "--yes"], setting.environment)
    _open_windows(setting, mirror=False)
    with running({"bridge": hivebus(["bridge", "run"])}, setting.folder, setting.environment) as beside:
        _wait_for_witnesses(setting, beside, legs=("redis", "tmux"))
        total = len(AGENTS) * scale.messages
        progress(f"as today: {total} messages typed into {len(AGENTS)} windows by the legacy flow, copies to Redis")
        began = time.monotonic()
        cast = {name: part.words() for name, part in parts(scale, url=URL, folder=setting.folder).items()}
        with running(cast, setting.folder, setting.environment) as agents:
            wait_until(
                lambda: all(agent.poll() is not None for agent in agents.values()),
                what="the end of sending",
                within=scale.longest,
                folder=setting.folder,
            )
        _wait_for_quiet(setting)
        seconds = time.monotonic() - began
    return Phase(name="as today", comparison=_compare(setting), seconds=seconds)


def _live(setting: Setting, scale: Scale, progress: Callable[[str], None]) -> Phase:
    """Redis acts; the safe driver mirrors into windows of their own; an agent is killed."""
    run(["migrate", "promote", *AGENTS, "--to", "live", "--yes"], setting.environment)
    _open_windows(setting, mirror=True)
    with running({"bridge": hivebus(["bridge", "run"])}, setting.folder, setting.environment) as beside:
        _wait_for_witnesses(setting, beside, legs=("tmux",))
        progress("live: Redis acts, and the same messages are mirrored into windows for people")
        began = time.monotonic()
        story = tell(URL, setting.folder, scale=scale, environment=setting.environment, progress=progress)
        _wait_for_quiet(setting)
        seconds = time.monotonic() - began
    return Phase(name="live", comparison=_compare(setting), seconds=seconds, story=story)


# --- What they are made of -------------------------------------------------------------------------


@contextmanager
def _tmux_server(folder: Path) -> Iterator[Path]:
    socket = folder / "tmux"
    try:
        yield socket
    finally:
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True, check=False)


def _setting(folder: Path, legacy_url: str, environment: Mapping[str, str]) -> Setting:
    folder.mkdir()
    own = {"HIVEBUS_URL": URL, "HIVEBUS_LEGACY_URL": legacy_url, "HIVEBUS_LEDGER": str(folder / "ledger.db")}
    return Setting(folder=folder, legacy_url=legacy_url, environment={**environment, **own})


def _open_windows(setting: Setting, *, mirror: bool) -> None:
    place = parse_place(setting.legacy_url)
    for name in AGENTS:
        # Nothing of the user's configuration: the demo is about what hivebus does.
        open_window(
            place,
            name,
            hivebus(["tail", "--agent", name]),
            mirror=mirror,
            environment=setting.environment,
            config=Path("/dev/null"),
        )


def _wait_for_witnesses(setting: Setting, beside: Mapping[str, Process], *, legs: tuple[str, ...]) -> None:
    wanted = {(agent, leg) for agent in AGENTS for leg in legs}

    def all_report() -> bool:
        check_alive(beside, setting.folder)
        with suppress(NotFound):
            return wanted <= {(each.agent, each.leg) for each in read_records(setting.ledger).witnesses}
        return False

    wait_until(all_report, what="a report from every window", within=READY_WITHIN, folder=setting.folder)


def _wait_for_quiet(setting: Setting) -> None:
    """Wait for what is still on its way: until nothing more comes, or patience ends."""
    deadline = time.monotonic() + SETTLE_WITHIN
    seen, since = -1, time.monotonic()
    while time.monotonic() < min(deadline, since + QUIET):
        count = len(read_records(setting.ledger).sightings)
        if count != seen:
            seen, since = count, time.monotonic()
        time.sleep(0.1)


def _compare(setting: Setting) -> Comparison:
    # Everything had its time: what is missing now is missing.
    return compare(read_records(setting.ledger), now=now(), deadline=0.0)
