"""`hivebus send --at` and `hivebus cancel`: for later, and not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

ME = ("--agent", "pm-agent")


def moment(**ahead: float) -> str:
    """Return a time from now on, as it is typed."""
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat(timespec="seconds").replace("+00:00", "Z")


def state(hivebus: Any, message_id: str) -> str:
    told: str = hivebus.ok("trace", message_id, "--json").json["state"]
    return told


def test_a_message_for_a_certain_time_is_scheduled_for_it(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--at", moment(hours=1))
    [*_, event] = hivebus.ok("trace", "m-1", "--json").json["events"]
    assert event["event"] == "scheduled" and 3500 < event["due_seconds"] <= 3600


def test_a_time_in_another_zone_is_the_same_moment_and_the_past_is_now(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--at", "2020-01-01T12:00:00+05:30")
    assert state(hivebus, "m-1") == "queued"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--at", "2026-11-23T12:00:00"], 65, "must have a time zone"),
        (["--at", "tomorrow"], 2, "2026-11-23T12:00:00Z"),
        (["--at", "2999-11-23T12:00:00Z"], 65, "within 365 days"),
        (["--at", "2026-11-23T12:00:00Z", "--delay", "0"], 2, "not both"),
    ],
    ids=["no zone", "no time", "too far", "a delay as well"],
)
def test_a_time_that_cannot_be_meant_is_refused(hivebus: Any, words: list[str], code: int, told: str) -> None:
    answer = hivebus("send", "pm-agent", "x", "--agent", "sender", *words)
    assert (answer.code, answer.out) == (code, "") and told in answer.err
    assert hivebus.queue("pm-agent") is None


def test_a_cancelled_message_is_never_handed_out(hivebus: Any) -> None:
    for name, words in (("later", ("--delay", "1h")), ("waits", ()), ("comes", ())):
        hivebus.send("pm-agent", "x", "--id", name, *words)
    told = hivebus.ok("cancel", "later", "--json").json
    assert told == {
        "schema": "hivebus.cancel/1",
        "message_id": "later",
        "outcome": "cancelled",
        "recipients": {"pm-agent": "cancelled"},
    }
    assert hivebus.ok("cancel", "waits").rows == [["waits", "pm-agent", "cancelled"]]
    assert hivebus.ok("cancel", "waits").code == 0, "twice is harmless"
    assert state(hivebus, "later") == state(hivebus, "waits") == "cancelled"
    queue = hivebus.queue("pm-agent")
    assert (queue["waiting"], queue["scheduled"]) == (1, 0)
    lines = hivebus.ok("receive", *ME, "-n", "5", "--jsonl").lines
    assert [each["message"]["message_id"] for each in lines] == ["comes"]


def test_what_was_handed_out_is_not_cancelled_and_that_is_1(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    hivebus.ok("receive", *ME)
    answer = hivebus("cancel", "m-1", "--json")
    assert answer.code == 1 and "handed out already" in answer.err
    assert (answer.json["outcome"], answer.json["recipients"]) == ("handed_out", {"pm-agent": "delivered"})
    hivebus.ok("ack", "m-1", *ME)


def test_what_nobody_knows_is_1_too(hivebus: Any) -> None:
    answer = hivebus("cancel", "nobody-knows", "--json")
    assert (answer.code, answer.json["outcome"], answer.json["recipients"]) == (1, "unknown", {})
    assert hivebus("cancel", "nobody-knows", *ME).code == 1


def test_the_beginning_of_an_id_will_do_when_the_agent_is_named(hivebus: Any) -> None:
    for name in ("message-1", "message-2", "other"):
        hivebus.send("pm-agent", "x", "--id", name)
    ambiguous = hivebus("cancel", "mess", *ME)
    assert ambiguous.code == 1 and "2 ids" in ambiguous.err
    assert hivebus("cancel", "oth").code == 1
    assert hivebus.ok("cancel", "oth", *ME, "--json").json["message_id"] == "other"
    assert hivebus.queue("pm-agent")["waiting"] == 2


def test_a_message_to_several_is_cancelled_for_all_or_for_one(hivebus: Any) -> None:
    hivebus.send("pm-agent,qa-agent,dev", "x", "--id", "m-1")
    assert hivebus.ok("cancel", "m-1", "--agent", "dev", "--json").json["recipients"] == {"dev": "cancelled"}
    told = hivebus.ok("cancel", "m-1", "--json").json["recipients"]
    assert told == dict.fromkeys(("pm-agent", "qa-agent", "dev"), "cancelled")


def test_without_a_server_it_says_69(hivebus: Any) -> None:
    answer = hivebus("cancel", "m-1", "--url", "redis://127.0.0.1:1", "--json")
    assert (answer.code, answer.out) == (69, "") and json.loads(answer.err)["error"]["exit"] == 69
