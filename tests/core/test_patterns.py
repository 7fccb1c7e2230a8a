"""Patterns of routing keys: what they match, and what is none."""

from __future__ import annotations

import pytest

from hivebus.errors import InvalidMessage
from hivebus.patterns import Patterns, check_pattern, key_of_copy


@pytest.mark.parametrize(
    ("pattern", "matches", "differs"),
    [
        (
            "agent.pm.question",
            ["agent.pm.question"],
            ["agent.pm.questions", "agent.qa.question", "agent.pm.question.a"],
        ),
        ("agent.pm.*", ["agent.pm.question"], ["agent.pm.build.done", "agent.pm-2.question"]),
        ("agent.pm.#", ["agent.pm.question", "agent.pm.build.done"], ["agent.pm-2.question"]),
        ("agent.pm.build.#", ["agent.pm.build", "agent.pm.build.docs.done"], ["agent.pm.builder"]),
        ("agent.*.system_alert", ["agent.pm.system_alert", "agent.@web.system_alert"], ["agent.a.b.system_alert"]),
        ("agent.pm.*.done", ["agent.pm.build.done"], ["agent.pm.done", "agent.pm.build.docs.done"]),
        ("agent.@web.#", ["agent.@web.task"], ["agent.web.task"]),
        ("agent.pm~1f.*", ["agent.pm~1f.answer"], ["agent.pm.answer"]),
        ("agent.*.*", ["agent.*.event", "agent.broadcast.event"], ["agent.pm.a.b"]),
        ("agent.#", ["agent.pm.question", "agent.*.event"], []),
        ("#", ["agent.pm.question", "agent.pm.build.done"], []),
    ],
)
def test_a_star_is_one_part_and_a_hash_is_all_the_rest(pattern: str, matches: list[str], differs: list[str]) -> None:
    patterns = Patterns(pattern)
    assert [key for key in matches if patterns.first(key) is None] == []
    assert [key for key in differs if patterns.first(key)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "*", "agent", "agent.", "agent.*", "agent.pm", "agent.pm.", "pm.question", "AGENT.pm.question"),
        *("agent.#.question", "agent.pm.#.done", "agent.pm-*.question", "agent.pm.quest?on", "agent.[pm].question"),
        *("agent..question", "agent.a,b.question", "agent.pm.a b", "agent.pm.question\n", "agent.PM.question", None, 7),
    ],
)
def test_what_can_never_match_is_no_pattern(wrong: object) -> None:
    with pytest.raises(InvalidMessage, match="must be agent.NAME.TYPE") as refused:
        check_pattern(wrong)
    assert refused.value.field == "pattern"


def test_the_first_of_several_patterns_takes_the_message() -> None:
    patterns = Patterns(["agent.*.alert", "agent.pm.#", "agent.*.alert"])
    assert patterns.texts == ("agent.*.alert", "agent.pm.#")
    assert (patterns.first("agent.pm.alert"), patterns.first("agent.pm.event")) == patterns.texts
    assert patterns.first("agent.qa.event") is None


@pytest.mark.parametrize("many", [[], ["#"] * 1001])
def test_there_is_at_least_one_pattern_and_not_any_number(many: list[str]) -> None:
    with pytest.raises(InvalidMessage, match="1 to 1000 patterns"):
        Patterns(many)


def test_of_a_list_each_copy_has_the_key_of_its_recipient() -> None:
    assert key_of_copy("agent.a,b.build.done", "b") == "agent.b.build.done"
    assert key_of_copy("agent.a.build.done", "a~shadow") == "agent.a.build.done"
