"""`hivebus inbox`, `trace`, `queues` and `dlq`: they look, and change nothing."""

from __future__ import annotations

from typing import Any

import pytest

ME = ("--agent", "pm-agent")
COUNTS = ("waiting", "in_flight", "retrying", "scheduled", "dead", "consumers")


def kill(hivebus: Any, message_id: str, reason: str, agent: str = "pm-agent") -> None:
    hivebus.send(agent, f"text of {message_id}", "--id", message_id)
    hivebus.ok("receive", "--agent", agent)
    hivebus.ok("reject", message_id, reason, "--agent", agent)


def test_inbox_lists_what_waits_and_what_is_held(hivebus: Any) -> None:
    hivebus.send("pm-agent", "one", "--id", "m-1")
    hivebus.ok("receive", *ME)
    hivebus.send("pm-agent", "two", "--id", "m-2", "--priority", "high")
    facts = hivebus.ok("inbox", *ME, "--json").json
    assert facts["schema"] == "hivebus.inbox/1"
    assert [message["message_id"] for message in facts["messages"]] == ["m-2"]
    [held] = facts["leased"]
    assert (held["message_id"], held["attempt"], held["message"]["body"]["content"]) == ("m-1", 1, "one")


def test_inbox_shows_only_what_its_filters_name_of_what_is_held_and_what_waits(hivebus: Any) -> None:
    for name, kind, level in (("a", "event", "low"), ("b", "question", "low"), ("c", "question", "high")):
        hivebus.send("pm-agent", name, "--id", name, "--type", kind, "--priority", level)
    hivebus.ok("receive", *ME, "--type", "event")

    def shown(*words: str) -> tuple[list[str], list[str]]:
        facts = hivebus.ok("inbox", *ME, "--json", *words).json
        return [each["message_id"] for each in facts["messages"]], [each["message_id"] for each in facts["leased"]]

    assert shown("--type", "question") == (["c", "b"], [])
    assert shown("--priority", "low") == shown("--priority", "1") == (["b"], ["a"])
    assert shown("--from", "sender", "--limit", "1") == (["c"], ["a"])
    assert shown("--from", "nobody") == ([], [])
    assert [hivebus("inbox", *ME, "--priority", level).code for level in ("6", "loud", "²")] == [65, 65, 65]


def test_inbox_takes_nothing(hivebus: Any) -> None:
    hivebus.send("pm-agent", "one", "--id", "m-1")
    for _ in range(3):
        hivebus.ok("inbox", *ME)
    [line] = hivebus.ok("receive", *ME, "--jsonl").lines
    assert line["attempt"] == 1


def test_inbox_rows_are_one_line_each(hivebus: Any) -> None:
    hivebus.send("pm-agent", "two\nlines\tand a tab", "--id", "m-1")
    [[message_id, age, sender, kind, priority, state, preview]] = hivebus.ok("inbox", *ME).rows
    assert (message_id, sender, kind, priority, state) == ("m-1", "sender", "information_share", "medium", "queued")
    assert age.endswith("s")
    assert preview == r"two\nlines\tand a tab"


def test_inbox_without_an_agent_says_how_to_name_one(hivebus: Any) -> None:
    assert hivebus("inbox").code == 78


def test_trace_tells_every_state_of_a_message(hivebus: Any) -> None:
    def told() -> tuple[str, int]:
        facts = hivebus.ok("trace", "m-1", "--json").json
        assert set(facts) == {"schema", "message_id", "state", "attempts", "events"}
        assert all({"at", "event", "leg"} <= set(event) for event in facts["events"])
        return facts["state"], facts["attempts"]

    hivebus.send("pm-agent", "x", "--id", "m-1")
    assert told() == ("queued", 0)
    hivebus.ok("receive", *ME)
    assert told() == ("delivered", 1)
    hivebus.ok("retry", "m-1", "--in", "1h", *ME)
    assert told() == ("retrying", 1)
    hivebus.send("pm-agent", "x", "--id", "m-2", "--delay", "1h")
    assert hivebus.ok("trace", "m-2", "--json").json["state"] == "scheduled"
    kill(hivebus, "m-3", "because")
    events = hivebus.ok("trace", "m-3", "--json").json["events"]
    assert (events[-1]["event"], events[-1]["reason"]) == ("dead_lettered", "because")


def test_trace_finds_a_message_in_any_inbox_by_its_whole_id(hivebus: Any) -> None:
    hivebus.send("qa-agent", "x", "--id", "m-1")
    answer = hivebus.ok("trace", "m-1")
    assert "m-1  queued" in answer.out
    assert "qa-agent" in answer.out


def test_trace_takes_the_beginning_of_an_id_when_the_agent_is_known(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "message-1")
    assert hivebus.ok("trace", "mess", *ME, "--json").json["message_id"] == "message-1"
    assert hivebus("trace", "mess").code == 1


def test_trace_of_an_unknown_message_is_1(hivebus: Any) -> None:
    answer = hivebus("trace", "nobody-knows", *ME, "--json")
    assert answer.code == 1
    assert answer.json["state"] == "unknown"
    assert "nobody-knows" in answer.err


def test_queues_counts_every_inbox(hivebus: Any) -> None:
    for name in ("m-1", "m-2", "m-3"):
        hivebus.send("pm-agent", "x", "--id", name)
    hivebus.send("pm-agent", "x", "--delay", "1h")
    hivebus.ok("receive", *ME, "-n", "2")
    hivebus.ok("retry", "m-1", "--in", "1h", *ME)
    kill(hivebus, "m-9", "because", agent="qa-agent")
    facts = hivebus.ok("queues", "--json").json
    assert facts["schema"] == "hivebus.queues/1"
    assert [each["agent"] for each in facts["queues"]] == ["pm-agent", "qa-agent"]
    mine, theirs = facts["queues"]
    assert [mine[name] for name in COUNTS] == [1, 1, 1, 1, 0, 1]
    assert [theirs[name] for name in COUNTS] == [0, 0, 0, 0, 1, 0]
    assert mine["oldest_waiting_seconds"] >= 0
    assert theirs["oldest_waiting_seconds"] is None


def test_watching_queues_prints_a_document_each_time_and_ends_well(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x")
    with hivebus.start("queues", "--watch", "200ms", "--json") as process:
        documents = [process.stdout.readline() for _ in range(3)]
        ended = hivebus.end(process)
    assert all('"pm-agent"' in document for document in documents)
    assert (ended.code, ended.err) == (0, "")


def test_queues_of_an_empty_bus_are_none(hivebus: Any) -> None:
    assert hivebus.ok("queues", "--json").json["queues"] == []
    answer = hivebus.ok("queues")
    assert answer.out == ""
    assert "no inbox yet" in answer.err


def test_dead_letters_are_listed_with_their_reasons(hivebus: Any) -> None:
    kill(hivebus, "m-1", "first")
    kill(hivebus, "m-2", "second", agent="qa-agent")
    facts = hivebus.ok("dlq", "list", "--json").json
    assert facts["schema"] == "hivebus.dlq.list/1"
    letters = {letter["message_id"]: letter for letter in facts["messages"]}
    assert set(letters) == {"m-1", "m-2"}
    assert set(letters["m-1"]) == {"message_id", "letter", "agent", "reason", "attempts", "requeued", "message"}
    assert (letters["m-2"]["agent"], letters["m-2"]["reason"], letters["m-2"]["attempts"]) == ("qa-agent", "second", 1)
    assert letters["m-1"]["message"]["body"]["content"] == "text of m-1"


def test_dead_letters_of_one_agent_are_listed_by_flag_only(hivebus: Any) -> None:
    kill(hivebus, "m-1", "first")
    kill(hivebus, "m-2", "second", agent="qa-agent")
    assert [row[0] for row in hivebus.ok("dlq", "list", *ME).rows] == ["m-1"]
    assert len(hivebus.ok("dlq", "list", env={"HIVEBUS_AGENT": "pm-agent"}).rows) == 2


def test_a_dead_letter_is_shown_whole(hivebus: Any) -> None:
    kill(hivebus, "letter-1", "because")
    facts = hivebus.ok("dlq", "show", "let", "--json").json
    assert facts["schema"] == "hivebus.dlq.show/1"
    assert (facts["reason"], facts["message"]["body"]["content"]) == ("because", "text of letter-1")
    assert "because" in hivebus.ok("dlq", "show", "letter-1").out


def test_a_dead_letter_that_is_none_is_1(hivebus: Any) -> None:
    answer = hivebus("dlq", "show", "nobody-knows")
    assert answer.code == 1
    assert "hivebus dlq list" in answer.err


def test_a_beginning_of_two_dead_letters_shows_neither(hivebus: Any) -> None:
    kill(hivebus, "m-1", "first")
    kill(hivebus, "m-2", "second")
    assert hivebus("dlq", "show", "m-").code == 1


@pytest.mark.parametrize(
    "command", [["inbox", *ME], ["queues"], ["dlq", "list"], ["trace", "x"]], ids=lambda each: each[0]
)
def test_without_a_server_every_command_says_69(hivebus: Any, command: list[str]) -> None:
    answer = hivebus(*command, "--url", "redis://127.0.0.1:1")
    assert (answer.code, answer.out) == (69, "")
    assert "  next: " in answer.err


def test_trace_shows_the_conversation_as_a_tree(hivebus: Any) -> None:
    hivebus.send("dev", "Which index?", "--id", "q-1")
    hivebus.ok("send", "sender", "A btree", "--agent", "dev", "--id", "a-1", "--correlation-id", "q-1")
    hivebus.ok("send", "ops", "Is there room?", "--agent", "dev", "--id", "q-2", "--correlation-id", "q-1")
    hivebus.ok("send", "dev", "Plenty", "--agent", "ops", "--id", "a-2", "--correlation-id", "q-2")
    out = hivebus.ok("trace", "a-1").out
    assert out.endswith(
        "\nconversation of 4 messages\n"
        "q-1  sender -> dev  information_share  queued  Which index?\n"
        "├─ a-1  dev -> sender  information_share  queued  A btree\n"
        "└─ q-2  dev -> ops  information_share  queued  Is there room?\n"
        "   └─ a-2  ops -> dev  information_share  queued  Plenty\n"
    )
    thread = hivebus.ok("trace", "a-2", "--json").json["thread"]
    assert [(each["message_id"], each["correlation_id"], each["depth"]) for each in thread] == [
        ("q-1", None, 0),
        ("a-1", "q-1", 1),
        ("q-2", "q-1", 1),
        ("a-2", "q-2", 2),
    ]
    _, shown = hivebus.on_terminal("trace", "a-1")
    assert "├─ a-1".encode() in shown and b"\x1b[1m" in shown


def test_trace_of_a_message_on_its_own_speaks_of_no_conversation(hivebus: Any) -> None:
    hivebus.send("dev", "fyi", "--id", "m-1")
    assert "conversation" not in hivebus.ok("trace", "m-1").out
    assert "thread" not in hivebus.ok("trace", "m-1", "--json").json
