"""`hivebus broadcast`: to everybody, and who has handled it."""

from __future__ import annotations

from typing import Any

ME = ("--agent", "boss")


def here(hivebus: Any, *names: str) -> None:
    for name in names:
        hivebus("receive", "--agent", name)


def test_everybody_but_the_sender_gets_it(hivebus: Any) -> None:
    here(hivebus, "dev", "qa", "boss")
    answer = hivebus.ok("broadcast", "hello", *ME)
    assert [row[1:] for row in answer.rows] == [["dev", "stored"], ["qa", "stored"]]
    assert hivebus.ok("inbox", "--agent", "dev", "--json").json["messages"][0]["to_agent"] == "*"
    assert hivebus.queue("boss")["waiting"] == 0


def test_nobody_there_is_exit_code_1(hivebus: Any) -> None:
    answer = hivebus("broadcast", "hello", *ME)
    assert (answer.code, answer.out) == (1, "")
    assert "no agent but you is registered" in answer.err


def test_who_is_silent_and_who_has_acked_are_told_apart(hivebus: Any) -> None:
    here(hivebus, "dev")
    process = hivebus.start("receive", "--agent", "dev", "--follow", "--ack", "--jsonl")
    options = ("--type", "workflow_command", "--wait", "acked", "--timeout", "3s", "--json")
    answer = hivebus("broadcast", "stop", *ME, "--agents", "dev,qa", *options)
    hivebus.end(process)
    facts = answer.json
    assert (answer.code, facts["acked"], facts["silent"], facts["failed"]) == (75, ["dev"], ["qa"], [])
    states = {each["agent"]: each["state"] for each in facts["recipients"]}
    assert states == {"dev": "acknowledged", "qa": "queued"}
    events = hivebus.ok("trace", facts["message_id"], "--json").json["events"]
    assert {(each["agent"], each["event"]) for each in events if each["event"] != "accepted"} == {
        ("dev", "acknowledged"),
        ("qa", "queued"),
    }


def test_a_broadcast_is_repeated_under_its_id(hivebus: Any) -> None:
    here(hivebus, "dev")
    for state in ("stored", "duplicate"):
        assert hivebus.ok("broadcast", "x", "--id", "b-1", *ME).rows == [["b-1", "dev", state]]
    here(hivebus, "late")
    rows = hivebus.ok("broadcast", "x", "--id", "b-1", *ME).rows
    assert rows == [["b-1", "dev", "duplicate"], ["b-1", "late", "stored"]]


def test_a_failure_is_exit_code_1(hivebus: Any) -> None:
    hivebus.send("dev", "first")
    url = f"{hivebus.env['HIVEBUS_URL']}?max_messages=1"
    answer = hivebus("broadcast", "x", "--agents", "dev,qa", "--url", url, *ME)
    assert (answer.code, [row[1:] for row in answer.rows]) == (1, [["dev", "refused"], ["qa", "stored"]])
    assert "the inbox of dev is full" in answer.err


def test_bad_options_are_refused_before_anything_is_sent(hivebus: Any) -> None:
    assert hivebus("broadcast", "x", "--timeout", "1s", *ME).code == 2
    assert hivebus("broadcast", "x", "--agents", "dev,,qa", *ME).code == 65
    assert hivebus("broadcast", "x", "--live-only", *ME).code == 1
