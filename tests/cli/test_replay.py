"""`hivebus replay`: shows what it would send, sends it once per run, and says what became of it."""

from __future__ import annotations

from typing import Any

import pytest

ME = ("--agent", "pm-agent")


@pytest.fixture
def past(hivebus: Any) -> Any:
    """Leave a question and two answers that pm-agent has handled."""
    for name, kind in (("m-1", "question"), ("m-2", "answer"), ("m-3", "answer")):
        hivebus.send("pm-agent", f"text of {name}", "--id", name, "--type", kind)
    hivebus.ok("receive", *ME, "-n", "3", "--ack")
    return hivebus


def replayed(hivebus: Any, *options: str) -> dict[str, Any]:
    facts: dict[str, Any] = hivebus.ok("replay", "--since", "1h", "--json", *ME, *options).json
    assert facts["schema"] == "hivebus.replay/1"
    return facts


def test_a_preview_counts_by_type_and_sends_nothing(past: Any) -> None:
    facts = replayed(past, "--to", "qa-agent", "--dry-run")
    assert (facts["messages"], facts["by_type"], facts["sent"]) == (3, {"question": 1, "answer": 2}, {})
    assert facts["first"] <= facts["last"]
    answer = past.ok("replay", "--since", "1h", "--dry-run", *ME)
    assert answer.rows == [["answer", "2"], ["question", "1"]]
    assert "3 messages, accepted from" in answer.err
    assert past.queue("qa-agent") is None


def test_what_is_sent_again_says_whose_repetition_it_is(past: Any) -> None:
    facts = replayed(past, "--to", "qa-agent", "--type", "answer", "--yes")
    assert sorted(facts["sent"]) == ["m-2", "m-3"]
    lines = past.ok("receive", "--agent", "qa-agent", "-n", "9", "--jsonl").lines
    assert [(each["message"]["replay_of"], each["message"]["body"]["content"]) for each in lines] == [
        ("m-2", "text of m-2"),
        ("m-3", "text of m-3"),
    ]
    assert [each["message"]["message_id"] for each in lines] == [facts["sent"]["m-2"], facts["sent"]["m-3"]]


def test_a_run_is_repeated_with_its_label_and_stores_nothing_twice(past: Any) -> None:
    label = replayed(past, "--yes")["label"]
    again = replayed(past, "--yes", "--label", label)
    assert (again["sent"], len(again["known"]), again["waiting"]) == ({}, 3, 3)
    assert past.queue("pm-agent")["waiting"] == 3


def test_single_messages_are_sent_and_missing_ones_are_named(past: Any) -> None:
    answer = past.ok("replay", "--since", "1h", "--id", "m-1", "--id", "gone", "--yes", *ME)
    assert answer.rows[-1] == ["sent 1 to pm-agent"]
    assert "not in this part of the history: gone" in answer.err
    assert "--label" in answer.err
    assert past.ok("inbox", *ME, "--json").json["messages"][0]["replay_of"] == "m-1"


def test_where_nobody_can_be_asked_it_takes_a_yes(past: Any) -> None:
    answer = past("replay", "--since", "1h", *ME)
    assert (answer.code, answer.out) == (2, "")
    assert "this would send 3 messages to pm-agent" in answer.err
    assert past.queue("pm-agent")["waiting"] == 0


def test_an_empty_past_is_no_error(hivebus: Any) -> None:
    answer = hivebus.ok("replay", "--since", "1h", "--yes", *ME)
    assert answer.out == ""
    assert "nothing of the history fits" in answer.err


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("--since", "1h", "--until", "2h"), 65),
        (("--since", "x"), 2),
        (("--since", "1h", "--to", "QA Team"), 65),
        ((), 2),
    ],
)
def test_a_wrong_option_is_named(hivebus: Any, wrong: tuple[str, ...], code: int) -> None:
    assert hivebus("replay", "--yes", *ME, *wrong).code == code
