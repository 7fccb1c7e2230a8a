"""`hivebus receive`: what is handed out, what is held, and what is never held up."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import redis

ME = ("--agent", "pm-agent")


def waiting(hivebus: Any) -> list[str]:
    return [message["message_id"] for message in hivebus.ok("inbox", *ME, "--json").json["messages"]]


def leased(hivebus: Any) -> dict[str, Any]:
    return {held["message_id"]: held for held in hivebus.ok("inbox", *ME, "--json").json["leased"]}


def received(hivebus: Any, *options: str) -> list[str]:
    return [line["message"]["message_id"] for line in hivebus.ok("receive", *ME, "--jsonl", *options).lines]


def test_a_line_has_the_promised_shape(hivebus: Any) -> None:
    hivebus.send("pm-agent", "Hello", "--id", "m-1")
    [line] = hivebus.ok("receive", *ME, "--jsonl").lines
    assert set(line) == {"message", "attempt", "lease_seconds"}
    assert (line["attempt"], line["lease_seconds"]) == (1, 1800)
    assert line["message"]["message_id"] == "m-1"
    assert line["message"]["body"]["content"] == "Hello"


def test_one_document_holds_all_deliveries(hivebus: Any) -> None:
    hivebus.send("pm-agent", "one")
    hivebus.send("pm-agent", "two")
    document = hivebus.ok("receive", *ME, "-n", "5", "--json").json
    assert document["schema"] == "hivebus.receive/1"
    assert [each["message"]["body"]["content"] for each in document["deliveries"]] == ["one", "two"]


def test_people_see_the_text_and_how_to_settle_it(hivebus: Any) -> None:
    hivebus.send("pm-agent", "Hello\nthere", "--id", "m-1", "--type", "question")
    shown = hivebus.ok("receive", *ME)
    assert shown.out.startswith("-- m-1  from sender  question  medium  attempt 1  lease 30m\nHello\nthere\n")
    assert "hivebus ack ID" in shown.err


def test_nothing_came_is_75_with_an_empty_stdout(hivebus: Any) -> None:
    for options in (["--jsonl"], ["--json"], [], ["--wait", "300ms"], ["--type", "question"], ["--exec", "true"]):
        answer = hivebus("receive", *ME, *options)
        assert (answer.code, answer.out) == (75, "")


def test_at_most_n_are_taken_and_urgent_ones_first(hivebus: Any) -> None:
    for name, level in (("a", "low"), ("b", "emergency"), ("c", "medium"), ("d", "emergency")):
        hivebus.send("pm-agent", name, "--id", name, "--priority", level)
    assert received(hivebus, "-n", "3") == ["b", "d", "c"]
    assert waiting(hivebus) == ["a"]


def test_what_was_received_stays_held_when_the_process_has_ended(hivebus: Any) -> None:
    hivebus.send("pm-agent", "Hello", "--id", "m-1")
    hivebus.ok("receive", *ME)
    assert hivebus("receive", *ME).code == 75
    held = leased(hivebus)["m-1"]
    assert held["consumer"].startswith("cli-")
    assert 1700 < held["lease_seconds"] <= 1800


def test_a_lease_that_ran_out_is_no_blame(hivebus: Any) -> None:
    hivebus.send("pm-agent", "Hello", "--id", "m-1")
    received(hivebus, "--lease", "1s")
    [line] = hivebus.ok("receive", *ME, "--wait", "30s", "--jsonl").lines
    assert (line["message"]["message_id"], line["attempt"]) == ("m-1", 2)


def test_each_command_is_a_consumer_of_its_own(hivebus: Any) -> None:
    for name in ("m-1", "m-2"):
        hivebus.send("pm-agent", "Hello", "--id", name)
        received(hivebus)
    held = leased(hivebus)
    assert held["m-1"]["consumer"] != held["m-2"]["consumer"]


def test_who_took_nothing_leaves_no_consumer_behind(hivebus: Any) -> None:
    hivebus("receive", *ME)
    assert hivebus.queue("pm-agent")["consumers"] == 0


def test_ack_settles_at_once(hivebus: Any) -> None:
    hivebus.send("pm-agent", "Hello", "--id", "m-1")
    [line] = hivebus.ok("receive", *ME, "--ack", "--jsonl").lines
    assert line["lease_seconds"] == 0
    assert hivebus.ok("trace", "m-1", "--json").json["state"] == "acknowledged"
    assert hivebus.queue("pm-agent")["consumers"] == 0


def test_waiting_ends_with_the_first_message(hivebus: Any) -> None:
    with hivebus.start("receive", *ME, "--wait", "60s", "--jsonl") as process:
        hivebus.eventually(lambda: (hivebus.queue("pm-agent") or {}).get("consumers"), what="somebody waits")
        hivebus.send("pm-agent", "Hello")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Hello" in out


def test_ctrl_c_while_waiting_is_130_and_leaves_nobody_behind(hivebus: Any) -> None:
    with hivebus.start("receive", *ME, "--wait", "60s") as process:
        hivebus.eventually(lambda: (hivebus.queue("pm-agent") or {}).get("consumers"), what="somebody waits")
        assert hivebus.end(process).code == 130
    assert hivebus.queue("pm-agent")["consumers"] == 0


def test_what_nobody_could_read_is_handed_back_at_once(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", "-", "--agent", "sender", "--id", "m-1", stdin=b"x" * 200_000)
    with hivebus.start("receive", *ME) as process:
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr.read() == ""
    assert process.returncode == 141
    assert waiting(hivebus) == ["m-1"]


# --- filters -----------------------------------------------------------------------------------------


def test_a_filter_takes_only_what_it_names(hivebus: Any) -> None:
    for name, kind in (("a", "event"), ("b", "question"), ("c", "event"), ("d", "answer"), ("e", "question")):
        hivebus.send("pm-agent", name, "--id", name, "--type", kind)
    assert received(hivebus, "--type", "question", "--type", "answer", "-n", "2") == ["b", "d"]
    assert sorted(waiting(hivebus)) == ["a", "c", "e"]
    assert set(leased(hivebus)) == {"b", "d"}


def test_a_filter_by_sender_and_type_means_both(hivebus: Any) -> None:
    for sender, kind in (("qa", "event"), ("ops", "question"), ("qa", "question")):
        hivebus.ok("send", "pm-agent", "x", "--agent", sender, "--type", kind, "--id", f"{sender}-{kind}")
    assert received(hivebus, "--from", "qa", "--type", "question", "-n", "5") == ["qa-question"]


def test_a_filter_by_level_takes_names_and_numbers(hivebus: Any) -> None:
    for level in ("low", "high", "urgent", "medium"):
        hivebus.send("pm-agent", "x", "--id", level, "--priority", level)
    assert received(hivebus, "--priority", "low", "--priority", "3", "-n", "5") == ["high", "low"]
    assert sorted(waiting(hivebus)) == ["medium", "urgent"]


def test_a_filter_reaches_behind_higher_levels(hivebus: Any) -> None:
    for number in range(3):
        hivebus.send("pm-agent", "x", "--id", f"u{number}", "--priority", "emergency")
    hivebus.send("pm-agent", "x", "--id", "wanted", "--priority", "low", "--type", "question")
    assert received(hivebus, "--type", "question") == ["wanted"]
    assert waiting(hivebus) == ["u0", "u1", "u2"]


def test_what_stood_in_the_way_is_free_at_once_and_uncounted(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "in-the-way")
    hivebus.send("pm-agent", "x", "--id", "wanted", "--type", "question")
    received(hivebus, "--type", "question")
    answer = hivebus.ok("receive", *ME, "--exec", "exit 0")
    assert "in-the-way acked" in answer.err


def test_a_filter_that_fits_nothing_takes_nothing(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    assert hivebus("receive", *ME, "--type", "question", "--wait", "1s").code == 75
    [line] = hivebus.ok("receive", *ME, "--jsonl").lines
    assert line["attempt"] == 1


def test_a_filter_waits_for_what_it_names(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    with hivebus.start("receive", *ME, "--type", "question", "--wait", "60s", "--jsonl") as process:
        hivebus.send("pm-agent", "x", "--id", "wanted", "--type", "question")
        out, _ = process.communicate(timeout=60)
    assert '"wanted"' in out
    assert waiting(hivebus) == ["m-1"]


def test_a_process_that_dies_while_it_takes_holds_nobody_up(hivebus: Any) -> None:
    # Taken and not shown: the short lease of taking must be what the server knows, not the long one.
    hivebus.ok("send", "pm-agent", "-", "--agent", "sender", "--id", "m-1", stdin=b"x" * 200_000)
    with hivebus.start("receive", *ME, "--follow", "--ack") as process:
        hivebus.eventually(lambda: "m-1" in leased(hivebus), what="it is taken, and the pipe is full")
        assert leased(hivebus)["m-1"]["lease_seconds"] <= 10
        process.kill()
        process.communicate(timeout=60)


# --- broken entries ---------------------------------------------------------------------------------


def test_a_broken_entry_becomes_a_dead_letter_and_the_next_is_received(hivebus: Any, behind: redis.Redis) -> None:
    hivebus.send("pm-agent", "x", "--id", "first")
    stream = f"{hivebus.env['HIVEBUS_NAMESPACE']}:{{pm-agent}}:q:3"
    behind.xadd(stream, {"i": "broken", "d": "{no json"})
    hivebus.send("pm-agent", "x", "--id", "last")
    answer = hivebus.ok("receive", *ME, "-n", "3", "--jsonl")
    assert [line["message"]["message_id"] for line in answer.lines] == ["first", "last"]
    assert "dead letter" in answer.err
    [letter] = hivebus.ok("dlq", "list", "--json").json["messages"]
    assert (letter["agent"], letter["reason"], letter["message"]) == ("pm-agent", "invalid:json", "{no json")


def test_inbox_shows_a_broken_entry_without_taking_it(hivebus: Any, behind: redis.Redis) -> None:
    hivebus.send("pm-agent", "x", "--id", "first")
    behind.xadd(f"{hivebus.env['HIVEBUS_NAMESPACE']}:{{pm-agent}}:q:3", {"i": "broken", "d": "{no json"})
    facts = hivebus.ok("inbox", *ME, "--json").json
    assert [message["message_id"] for message in facts["messages"]] == ["first"]
    assert facts["broken"] == [{"message_id": "broken", "why": "json"}]
    assert "(broken: json)" in hivebus.ok("inbox", *ME).out


# --- follow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_goes_on_until_a_signal_and_ends_well(hivebus: Any, number: int) -> None:
    with hivebus.start("receive", *ME, "--follow", "--jsonl") as process:
        for name in ("m-1", "m-2"):
            hivebus.send("pm-agent", "x", "--id", name)
            assert f'"{name}"' in process.stdout.readline()
        ended = hivebus.end(process, number)
    assert (ended.code, ended.out) == (0, "")
    assert set(leased(hivebus)) == {"m-1", "m-2"}


def test_following_with_a_wait_ends_when_nothing_comes_any_more(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x")
    answer = hivebus.ok("receive", *ME, "--follow", "--wait", "300ms", "--ack", "--jsonl")
    assert len(answer.lines) == 1


MISTAKES = {
    "follow as one document": ["--follow", "--json"],
    "exec and ack": ["--exec", "true", "--ack"],
    "exec and jsonl": ["--exec", "true", "--jsonl"],
    "none at all": ["-n", "0"],
    "negative wait": ["--wait", "-1s"],
    "endless lease": ["--lease", "8d"],
    "no such option": ["--forever"],
}


def test_a_mistake_is_a_usage_error_and_takes_nothing(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    for name, options in MISTAKES.items():
        answer = hivebus("receive", *ME, *options)
        assert (answer.code, answer.out) == (2, ""), name
        assert answer.err, name
    assert waiting(hivebus) == ["m-1"]


def test_a_type_that_cannot_be_is_refused(hivebus: Any) -> None:
    assert hivebus("receive", *ME, "--type", "No Type").code == 65
    refused = hivebus("receive", *ME, "--priority", "loud")
    assert refused.code == 65 and "priority = 'loud'" in refused.err


def test_a_message_that_wants_no_ack_is_settled_when_it_is_shown(hivebus: Any) -> None:
    hivebus.send("pm-agent", "just so you know", "--id", "m-1", "--no-ack")
    hivebus.send("pm-agent", "please", "--id", "m-2")
    lines = hivebus.ok("receive", *ME, "-n", "2", "--jsonl").lines
    assert [(line["message"]["message_id"], line["lease_seconds"]) for line in lines] == [("m-1", 0), ("m-2", 1800)]
    assert list(leased(hivebus)) == ["m-2"]
    assert hivebus.ok("trace", "m-1", "--json").json["state"] == "acknowledged"
    hivebus.ok("ack", "m-2", *ME)
