"""The kit judges by what is declared, says what it found, and keeps out of the way of others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hivebus.errors import ConfigError, Unavailable
from hivebus.memory.transport import MemoryTransport
from hivebus.testing import Check, Harness, Outcome, Report, Verdict, all_checks, check, expect, promise, run_check
from hivebus.testing.conformance import Conformance, UndeclaredCapability, tell_pytest
from hivebus.transport import (
    Capabilities,
    Endpoint,
    Feature,
    Listener,
    Outgoing,
    Published,
    Publisher,
    Transport,
    native,
)

from .small_transports import Air, Radio, Wall


def wall(**capabilities: Feature) -> Callable[[], Publisher]:
    """Return what makes a wall that declares something."""

    class Declaring(Wall):
        async def connect(self) -> Capabilities:
            return replace(await super().connect(), **capabilities)

    return Declaring


@promise(Publisher, proves="delay")
async def it_works(h: Harness) -> None:
    """A promise that is kept."""
    await h.publish(h.message(h.inbox()))


@promise(Publisher, proves="delay")
async def it_breaks(h: Harness) -> None:
    """A promise that is broken."""
    expect(False, "it broke")


@promise(Publisher, proves="attempts>=exact")
async def it_counts(h: Harness) -> None:
    """A promise that takes a certain level."""


@promise(Publisher, proves=("priority>=5", "ttl"))
async def it_takes_two(h: Harness) -> None:
    """A promise that takes two capabilities."""


@promise(Transport)
async def it_needs_a_transport(h: Harness) -> None:
    """A promise of another class."""


@promise(Publisher)
async def it_raises(h: Harness) -> None:
    """A promise whose transport raises what it should not."""
    raise KeyError("lost")


@promise(Publisher)
async def it_hangs(h: Harness) -> None:
    """A promise whose transport does not answer."""
    await asyncio.Event().wait()


async def outcome_of(check: Check, make: Callable[[], Publisher], *, patience: float = 10) -> Outcome:
    async def made() -> Publisher:
        return make()

    return await run_check(check, made, patience=patience)


@pytest.mark.parametrize(
    ("check", "declared", "verdict"),
    [
        (it_works, {"delay": native(60)}, "passed"),
        (it_breaks, {"delay": native(60)}, "failed"),
        (it_works, {}, "warned"),
        (it_breaks, {}, "skipped"),
        (it_counts, {"attempts": native("exact")}, "passed"),
        (it_counts, {"attempts": native("approximate")}, "warned"),
        (it_takes_two, {"priority": native(5), "ttl": native()}, "passed"),
        (it_takes_two, {"priority": native(3), "ttl": native()}, "warned"),
        (it_takes_two, {"priority": native(5)}, "warned"),
        (it_needs_a_transport, {}, "skipped"),
        (it_raises, {}, "failed"),
    ],
)
async def test_what_is_declared_decides_the_verdict(
    check: Check, declared: dict[str, Feature], verdict: Verdict
) -> None:
    assert (await outcome_of(check, wall(**declared))).verdict == verdict


async def test_a_failure_says_what_was_seen_and_what_was_promised() -> None:
    outcome = await outcome_of(it_breaks, wall(delay=native(60)))
    assert (outcome.detail, outcome.promise, outcome.proves) == ("it broke", "A promise that is broken.", ("delay",))
    assert (await outcome_of(it_raises, wall())).detail == "raised KeyError: 'lost'"


async def test_a_skip_names_the_capability_or_the_class_that_is_missing() -> None:
    assert (await outcome_of(it_breaks, wall())).detail == "delay is not declared; it broke"
    assert (await outcome_of(it_needs_a_transport, wall())).detail == "not a Transport"


async def test_a_transport_that_does_not_answer_fails_when_patience_ends() -> None:
    outcome = await outcome_of(it_hangs, wall(), patience=0.02)
    assert (outcome.verdict, outcome.detail) == ("failed", "did not end within 0.12 s")


async def test_a_transport_that_cannot_connect_fails_its_checks() -> None:
    class Down(Wall):
        async def connect(self) -> Capabilities:
            raise Unavailable("nobody is there")

    outcome = await outcome_of(it_works, Down)
    assert (outcome.verdict, outcome.detail) == ("failed", "cannot connect: nobody is there")
    with pytest.raises(Unavailable, match="nobody is there"):
        await check(Down)


async def test_a_publisher_passes_the_checks_of_publishers_alone() -> None:
    report = await check(Wall)
    assert report.ok
    passed = {outcome.name for outcome in report.outcomes if outcome.verdict == "passed"}
    assert passed == {each.name for each in all_checks() if each.kinds == (Publisher,)}
    assert report.count("skipped") == len(report.outcomes) - len(passed)


async def test_a_transport_may_say_which_inboxes_there_are() -> None:
    inboxes: list[str] = []

    class Strict(Wall):
        async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
            inboxes.extend(item.inbox for item in batch)
            return await super().publish(batch)

    assert (await check(Strict, name_inbox=lambda: "frontend-agent")).ok
    assert set(inboxes) == {"frontend-agent"}


async def test_a_listener_passes_the_checks_of_listeners_too() -> None:
    air = Air()
    report = await check(lambda: Radio(air))
    assert report.ok
    passed = {outcome.name for outcome in report.outcomes if outcome.verdict == "passed"}
    assert passed == {each.name for each in all_checks() if each.kinds in ((Publisher,), (Listener,))}


async def test_the_kit_runs_by_url_and_leaves_nothing_behind() -> None:
    names = ["started_work_comes_back_alone", "a_purged_dead_letter_is_gone", "counts_add_up"]
    told: list[Outcome] = []
    report = await check(Endpoint(url="memory://"), lease=0.1, only=names, progress=told.append)
    assert sorted(outcome.name for outcome in report.outcomes) == sorted(names)
    assert report.ok
    assert report.capabilities.priority.value == 5
    assert told == report.outcomes
    transport = MemoryTransport(Endpoint(url="memory://"))
    await transport.connect()
    counts = await transport.counts(await transport.inboxes())
    assert len(counts) >= 3
    assert {(each.waiting, each.in_flight, each.retrying, each.scheduled, each.dead) for each in counts} == {(0,) * 5}


async def test_a_url_that_nobody_serves_is_an_error_and_no_report() -> None:
    with pytest.raises(ConfigError, match="no transport called 'nope'"):
        await check(Endpoint(url="nope://"))


def test_a_report_reads_as_sentences_and_sums_up() -> None:
    report = Report(
        subject="mine://",
        capabilities=Capabilities(),
        outcomes=[
            Outcome(name="a_limit_is_kept", verdict="passed"),
            Outcome(name="waking_ends_a_wait", verdict="failed", detail="it slept on", promise="`wake` wakes."),
            Outcome(name="counts_add_up", verdict="skipped", detail="not a Inspectable"),
        ],
    )
    assert not report.ok
    assert report.verdict("waking_ends_a_wait") == "failed"
    assert report.render().splitlines() == [
        "conformance of mine://",
        "  passed  a limit is kept",
        "  failed  waking ends a wait  (it slept on)",
        "          promised: `wake` wakes.",
        "  skipped counts add up  (not a Inspectable)",
        "1 passed, 1 failed, 0 warned, 1 skipped",
    ]


def test_a_report_without_a_single_pass_is_not_ok() -> None:
    skipped = Outcome(name="counts_add_up", verdict="skipped")
    assert not Report(subject="mine://", capabilities=Capabilities(), outcomes=[skipped]).ok


def test_pytest_is_told_each_verdict_in_its_own_words() -> None:
    tell_pytest(Outcome(name="x", verdict="passed"))
    with pytest.raises(pytest.fail.Exception, match="x: broke"):
        tell_pytest(Outcome(name="x", verdict="failed", detail="broke"))
    with pytest.raises(pytest.skip.Exception, match="absent"):
        tell_pytest(Outcome(name="x", verdict="skipped", detail="absent"))
    with pytest.warns(UndeclaredCapability, match="x: works"):
        tell_pytest(Outcome(name="x", verdict="warned", detail="works"))


def test_a_class_that_names_no_transport_is_told_what_to_define() -> None:
    with pytest.raises(ConfigError, match=r"endpoint\(\) nor transport\(\)"):
        Conformance().endpoint()


def test_every_check_is_a_sentence_with_a_reason() -> None:
    checks = all_checks()
    assert len({each.name for each in checks}) == len(checks) >= 24
    assert [each.name for each in checks if not each.summary.endswith(".") or "_" not in each.name] == []


# --- In a pytest of its own -------------------------------------------------------------------------


def run_pytest(folder: Path, *words: str, setup: str = "") -> subprocess.CompletedProcess[str]:
    """Run pytest as an author does, in a folder that knows nothing of this repository's settings."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    code = f"import sys, pytest\n{setup}\nsys.exit(pytest.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "-p", "no:asyncio", "-p", "no:cacheprovider", "-q", "-rs", *words],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_option_runs_the_kit_against_a_url(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--hivebus-transport=memory://", "-k", "what_is_acked or listening_in_silence")
    assert done.returncode == 0, done.stdout
    assert "not a Listener" in done.stdout
    assert f"1 passed, 1 skipped, {len(all_checks()) - 2} deselected" in done.stdout


def test_the_option_fails_for_a_url_that_nobody_serves(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--hivebus-transport=nope://", "-k", "what_is_acked")
    assert done.returncode == 1
    assert "no transport called 'nope'" in done.stdout


AUTHORS_TEST = """
from hivebus.memory.transport import MemoryTransport
from hivebus.testing import Conformance
from hivebus.transport import Endpoint, Reader

class Forgetful(MemoryTransport):
    async def open(self, inbox, *, consumer, lease):
        reader = await super().open(inbox, consumer=consumer, lease=lease)
        reader.wake = lambda: None
        return reader

class TestMine(Conformance):
    patience = 0.5
    async def transport(self):
        return Forgetful(Endpoint(url="memory://"))
"""


def test_an_author_inherits_the_kit_without_any_other_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(AUTHORS_TEST)
    done = run_pytest(tmp_path, "-k", "waking or what_is_sent or a_lane")
    assert done.returncode == 1
    assert "waking_ends_a_wait: wake was called and the waiting receive did not return" in done.stdout
    assert "1 failed, 2 passed" in done.stdout


def test_without_the_option_nothing_of_the_kit_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_nothing_is_there():\n"
        "    assert 'hivebus.testing.pytest_plugin' in sys.modules\n"
        "    heavy = ('hivebus.testing.checks', 'hivebus.transport', 'hivebus.plugins', 'pydantic')\n"
        "    assert [name for name in heavy if name in sys.modules] == []\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout
