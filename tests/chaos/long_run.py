"""The long chaos run of `make chaos`: on both kinds of servers, with power cuts, and its report as a page."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hivebus_redis.drill.campaign import Campaign, fight
from hivebus_redis.drill.command import program
from hivebus_redis.drill.faults import choose
from hivebus_redis.drill.report import lines_of, page_of

EVERY = 0.3
POWER = ("server.power_cut", "consumer.kill", "producer.kill")
SHARE_AT_MEMORY = 0.1
MAX_CRASHES = 10
"""As a bus has it by default: in so many minutes, a slow handler may well lose its process four times running."""
FAULTS, ACKED = 50, 20_000
"""A minute: what a run that is worth a page has at least."""


def main() -> int:
    """Run, print, write the page; exit 1 when a promise was broken or too little happened."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=12.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--page", type=Path)
    words = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hb-chaos-"))
    campaigns: dict[str, Campaign] = {}
    for name, level, share in (
        ("redis", "fsync", (1 - SHARE_AT_MEMORY) / 2),
        ("valkey", "fsync", (1 - SHARE_AT_MEMORY) / 2),
        ("redis", "memory", SHARE_AT_MEMORY),
    ):
        title = f"{version(name)}, `{level}`"
        say(f"==> {title}")
        place = folder / f"{name}-{level}"
        place.mkdir()
        campaigns[title] = fight(
            place,
            program=program(name),
            level=level,
            seconds=words.minutes * 60 * share,
            faults=choose(POWER if level == "memory" else ()),
            every=EVERY * 4 if level == "memory" else EVERY,
            seed=words.seed,
            max_crashes=MAX_CRASHES,
            told=say,
        )
        say("\n".join(lines_of(campaigns[title])))
    if words.page:
        command = f"make chaos MINUTES={words.minutes:g} SEED={words.seed}"
        words.page.write_text(page_of(campaigns, command=command, facts=facts(words.minutes)))
    return judge(list(campaigns.values()), folder, minutes=words.minutes)


def judge(campaigns: list[Campaign], folder: Path, *, minutes: float) -> int:
    """Return the exit code, and say what is missing."""
    faults = sum(each.figures.faults for each in campaigns)
    acked = sum(each.figures.acked for each in campaigns)
    cuts = sum(each.figures.faults_by_kind.get("server.power_cut", 0) for each in campaigns)
    broken = [finding for each in campaigns for finding in each.findings]
    say(f"==> {acked:,} accepted, {faults:,} faults, {cuts} power cuts, {len(broken)} breaches")
    if broken:
        say(f"the books of the rounds that failed are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    if faults < FAULTS * minutes or acked < ACKED * minutes or not cuts:
        say(f"too little happened: at least {FAULTS * minutes:.0f} faults and {ACKED * minutes:,.0f} accepted")
        return 1
    return 0


def facts(minutes: float) -> dict[str, str]:
    """Return when and on what it ran."""
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:g} minutes of faults",
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def say(text: str) -> None:
    """Print at once, since a run takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def version(name: str) -> str:
    """Return the server's own words about its version."""
    said = subprocess.run([program(name), "--version"], capture_output=True, text=True, check=True).stdout
    return f"{name} {said.partition('v=')[2].partition(' ')[0]}"


if __name__ == "__main__":
    sys.exit(main())
