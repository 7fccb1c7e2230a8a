"""The report in its three forms: golden files, whatever stands in a ledger, and the page that explains it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivebus_migration import report_markdown as markdown_module
from hivebus_migration import report_text as text_module
from hivebus_migration import verdict
from hivebus_migration.comparison import compare
from hivebus_migration.discrepancies import find_discrepancies
from hivebus_migration.facts import Gap
from hivebus_migration.report import Report
from hivebus_migration.report_json import comparison_facts, report_facts
from hivebus_migration.report_markdown import report_markdown
from hivebus_migration.report_text import WIDTH, report_text
from hivebus_migration.rows import ARRIVALS, OUTCOMES
from hivebus_migration.wording import LIMITS, verdict_on

from . import scenes
from .sample import sample_report
from .scenes import DEV, LEGS, NOW, QA, VICTIMS, Scene, at, attempt, both_delivered, intent, sighting, witness

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[2] / "docs/compare.md"


@pytest.fixture
def sample(tmp_path: Path) -> Report:
    return sample_report(tmp_path)


def report_on(scene: Scene, **options: Any) -> Report:
    comparison = compare(scene.records(), now=NOW, **options)
    return Report(
        comparison=comparison,
        discrepancies=find_discrepancies(comparison.verdicts),
        ledger=Path("/ledger.db"),
        host="box",
        since=at(0).wall,
        until=NOW.wall,
        deadline=30,
        agent=options.get("agent"),
    )


# --- Golden files: a change in them is a change for whoever reads reports ---------------------------


def test_the_text_is_as_it_was(sample: Report) -> None:
    assert report_text(sample) + "\n" == (GOLDEN / "report.txt").read_text()


def test_the_markdown_is_as_it_was(sample: Report) -> None:
    assert report_markdown(sample) + "\n" == (GOLDEN / "report.md").read_text()


def test_the_json_is_as_it_was(sample: Report) -> None:
    known = json.loads((GOLDEN / "report.json").read_text())
    assert {"schema": "hivebus.migrate.report/1", **report_facts(sample)} == known


# --- What programs rely on --------------------------------------------------------------------------


def test_the_json_has_the_shape_that_scripts_rely_on(sample: Report) -> None:
    facts = report_facts(sample)
    row = {
        "sent", "claimed", "proven", "lost", "duplicated", "corrupted", "misdelivered", "unknown", "p50_ms", "p95_ms",
        "p99_ms", "loss_upper_bound",
    }  # fmt: skip
    assert {"legs", "paired", "agents", "level"} <= facts.keys()
    assert {"both", "only", "neither"} <= facts["paired"].keys()
    assert facts["paired"]["only"].keys() == facts["legs"].keys() == set(LEGS)
    agents = facts["agents"].values()
    for leg in (*facts["legs"].values(), *(leg for agent in agents for leg in agent["legs"].values())):
        assert row <= leg.keys()
        for driver in leg["drivers"].values():
            assert row <= driver.keys()
    assert json.loads(json.dumps(facts)) == facts


def test_an_empty_ledger_has_the_same_shape() -> None:
    facts = comparison_facts(compare(Scene().records(), now=NOW))
    assert (facts["legs"], facts["agents"], facts["level"]) == ({}, {}, "accepted")
    assert facts["paired"] == {"both": 0, "only": {}, "neither": 0, "mcnemar_p": None}


# --- What people are told ---------------------------------------------------------------------------


def test_no_line_is_wider_than_a_hundred_columns(sample: Report) -> None:
    long = Scene()
    for number in range(3):
        long.add(number, f"{'very-long-name-' * 4}{number}")
    for text in (report_text(sample), report_text(report_on(long))):
        assert max(map(len, text.splitlines())) <= WIDTH


def test_the_bound_is_said_in_words() -> None:
    row = compare(both_delivered().records(), now=NOW).legs["redis"].tally
    assert verdict_on("redis", row, measurable=True) == "redis: 0 of 30 lost: true loss < 9.51 %"
    many = replace(row, sent=3214, proven=3214, claimed=3214)
    assert verdict_on("redis", many, measurable=True) == "redis: 0 of 3,214 lost: true loss < 0.094 %"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            scenes.dropped,
            ["tmux: 3 of 30 not proven (3 lost)", "claimed 30, of which 3 are not proven"],
        ),
        (scenes.timed_out, ["3 of 30 not proven (3 unknown)", "tmux: claimed 27, and all of them", "timeout 3"]),
        (scenes.corrupted, ["3 of 30 not proven (3 corrupted)", "other_fingerprint 3"]),
        (scenes.seen_by_another_clock, ["tmux: 3 seen by another clock than their sender's, and not timed"]),
        (scenes.seen_before_it_was_sent, ["tmux: 3 seen before they were sent, and not timed: a clock is wrong"]),
    ],
)
def test_a_fault_is_said_in_words(fault: Callable[[Scene, str], None], said: list[str]) -> None:
    scene = both_delivered()
    fault(scene, "tmux")
    for text in (report_text(report_on(scene)), report_markdown(report_on(scene))):
        plain = re.sub(r"\s+", " ", text.replace("\\", ""))
        assert [each for each in said if each not in plain] == []


def check_that_what_was_not_measured_is_never_complete(report: Report) -> None:
    text = report_text(report)
    assert "redis: not measurable beyond accepted; the transport says that it took 30 of 30" in text
    assert "tmux: not measurable beyond accepted" in text
    assert not re.search(r"true loss|100|travelled both", text)
    assert {each.split()[-1] for each in text.splitlines() if each.startswith(("all", "dev", "qa"))} >= {"n/m"}


def test_what_was_not_measured_is_never_a_hundred_percent() -> None:
    scene = both_delivered()
    scene.witnesses = [witness(agent, "redis") for agent in ("dev", "qa")]
    for number in range(DEV + QA):
        scene.sightings[number, "tmux"] = []
    check_that_what_was_not_measured_is_never_complete(report_on(scene))


def test_saboteur_a_report_on_what_was_not_measured_that_gives_a_bound_is_found_out() -> None:
    with pytest.raises(AssertionError):
        check_that_what_was_not_measured_is_never_complete(report_on(both_delivered()))


def test_gaps_strangers_pending_and_silence_are_said() -> None:
    scene = both_delivered()
    scene.gaps = [Gap(1, "disk_full", at(0), at(1))]
    scene.sightings[500, "tmux"] = [sighting(500, "tmux")]
    for number in range(DEV, DEV + QA):
        scene.sightings[number, "tmux"] = []
    comparison = compare(scene.records(), now=at(DEV + 31.5), deadline=30)
    text = re.sub(r"\s+", " ", report_text(replace(report_on(scene), comparison=comparison)))
    assert "1 fact missing (disk_full), from 2026-07-01T10:00:00Z to 2026-07-01T10:00:01Z" in text
    assert "1 sighting of messages that no sender noted" in text
    assert "tmux: 4 still pending" in text
    assert "nothing was ever seen by qa on tmux, although somebody said to report it: does it still run?" in text


def test_an_empty_window_is_a_report_too() -> None:
    for render in (report_text, report_markdown):
        text = render(report_on(Scene()))
        assert "0 messages to 0 agents" in text
        assert LIMITS[0] in text


def test_the_worst_comes_first_and_five_are_named() -> None:
    scene = both_delivered()
    scenes.dropped(scene, "tmux")
    scene.sightings[1, "tmux"] *= 2
    scene.sightings[2, "redis"] = [sighting(2, "redis", agent="qa"), sighting(2, "redis", agent="docs")]
    scene.attempts[4, "tmux"] = [attempt(4, "tmux", outcome="refused", reason="no_window")]
    scene.sightings[4, "tmux"] = []
    scene.sightings[5, "redis"] = [sighting(5, "redis", fingerprint="torn")]
    report = report_on(scene)
    said = [(each.message_id[-2:], each.leg, each.what, dict(each.elsewhere)) for each in report.discrepancies]
    fine = {"redis": "proven"}
    assert said == [
        ("02", "redis", "misdelivered to docs, qa, claimed, lost (never_seen)", {"tmux": "proven"}),
        ("05", "redis", "claimed, corrupted (other_fingerprint)", {"tmux": "proven"}),
        *((f"{number:02}", "tmux", "claimed, lost (never_seen)", fine) for number in reversed(VICTIMS)),
        ("01", "tmux", "duplicated", fine),
        ("04", "tmux", "lost (no_window)", fine),
    ]
    assert "worst discrepancies (5 of 7)" in report_text(report)
    assert len(report_facts(report)["discrepancies"]) == 5
    assert report_facts(report)["discrepancies_total"] == 7


def test_on_the_leg_that_acts_a_loss_is_worse_than_on_the_other() -> None:
    scene = both_delivered()
    scene.sightings[9, "redis"] = []
    scene.sightings[3, "tmux"] = []
    assert [each.leg for each in report_on(scene).discrepancies] == ["tmux", "redis"]


# --- Text from others -------------------------------------------------------------------------------

HOSTILE = "dev\x1b[2J\x9b|`<b>\u202e\n# @all"


def hostile() -> Scene:
    scene = Scene()
    scene.intents[1] = intent(1, HOSTILE, legs={f"tmux{HOSTILE}": "f", "redis": "f"})
    refused = attempt(1, "tmux", HOSTILE, driver=HOSTILE, outcome="refused", reason=HOSTILE)
    scene.attempts[1, "tmux"] = [refused._replace(leg=f"tmux{HOSTILE}")]
    scene.sightings[1, "redis"] = [sighting(1, "redis", HOSTILE, fingerprint="f")]
    scene.witnesses = [witness(HOSTILE, "redis"), witness(HOSTILE, f"tmux{HOSTILE}")]
    scene.gaps = [Gap(1, HOSTILE, at(0), at(1))]
    return scene


def check_text(text: str) -> None:
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text) == []
    assert not [line for line in text.splitlines() if line.startswith("# ")]
    assert "\\x1b[2J" in text


def check_markdown(text: str) -> None:
    check_text(text.replace("\\\\", "\\").replace("\\[", "["))
    assert re.findall(r"(?<!\\)<(?!/?)|<b>|@all", text) == []
    widths = {line: len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert set(widths.values()) == {len(OUTCOMES) + 1, len(ARRIVALS) + 1, 6}


def test_names_and_reasons_of_others_cannot_command_the_terminal() -> None:
    check_text(report_text(report_on(hostile())))


def test_names_and_reasons_of_others_stay_text_in_markdown() -> None:
    check_markdown(report_markdown(report_on(hostile())))


def test_saboteur_a_text_that_shows_names_as_they_are_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "cell", str)
    with pytest.raises(AssertionError):
        check_text(report_text(report_on(hostile())))


@pytest.mark.parametrize("careless", [str, markdown_module.cell])
def test_saboteur_a_markdown_that_escapes_less_is_found_out(
    careless: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markdown_module, "escaped", careless)
    with pytest.raises(AssertionError):
        check_markdown(report_markdown(report_on(hostile())))


# --- The page ---------------------------------------------------------------------------------------


def test_the_page_shows_what_the_program_prints() -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert shown == (GOLDEN / "report.txt").read_text()


def test_the_page_explains_every_column(sample: Report) -> None:
    section = PAGE.read_text().partition("## Columns\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| (`.*?) \| (`.*?) \|", section, flags=re.MULTILINE)
    heads = [name for names, _ in explained for name in re.findall(r"`(.*?)`", names)]
    assert heads == [name for name in (*OUTCOMES, *ARRIVALS) if name not in ("AGENT", "ROAD")]
    facts = report_facts(sample)
    keys = [key for _, names in explained for key in re.findall(r"`(.*?)`", names)]
    assert [key for key in keys if key not in facts["legs"]["tmux"] and key not in facts] == []


def test_the_page_says_what_the_report_cannot_tell() -> None:
    section = PAGE.read_text().partition("## What this report cannot tell\n")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^- (.*)$", section, flags=re.MULTILINE)) == LIMITS


def test_the_page_explains_every_reason_of_the_comparison() -> None:
    page = PAGE.read_text()
    words = ("NEVER_SEEN", "NO_WITNESS", "NO_ANSWER", "NO_FINGERPRINT", "OTHER_FINGERPRINT")
    reasons = [getattr(verdict, word) for word in words]
    assert [each for each in reasons if f"| `{each}` |" not in page] == []
