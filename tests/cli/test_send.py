"""`hivebus send`: what is taken as the text, what is refused, and what comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TEXTS = {
    "plain": "Sprint planning needed",
    "quotes": """it's "quoted" `twice` \\ $HOME $(id) %s {}""",
    "emoji": "done \N{PARTY POPPER} naïve 漢字 \N{FAMILY}",
    "lines": "one\n\n  two\r\nthree\n",
    "dash": "-v is broken",
    "dashes": "--- a/file\n+++ b/file",
    "list": "- [ ] write tests",
    "control": "bell \x07 escape \x1b[31m tab \t del \x7f",
    "big": "x" * 100_000,
}
FROM = ("--agent", "frontend-agent")


def arrived(hivebus: Any, agent: str = "pm-agent") -> list[Any]:
    return [message["body"]["content"] for message in hivebus.ok("inbox", "-a", agent, "--json").json["messages"]]


def test_what_send_says_as_json_has_the_promised_shape(hivebus: Any) -> None:
    sent = hivebus.ok("send", "pm-agent", "Hello", *FROM, "--json").json
    assert sent.pop("message_id")
    assert sent == {
        "schema": "hivebus.send/1",
        "to_agent": "pm-agent",
        "state": "stored",
        "evidence": "accepted",
        "legs": {"redis": "accepted"},
    }


def test_a_pipe_gets_the_facts_as_a_row(hivebus: Any) -> None:
    sent = hivebus.ok("send", "pm-agent", "Hello", *FROM, "--id", "m-1")
    assert sent.rows == [["m-1", "pm-agent", "stored", "accepted"]]
    assert "never read its inbox" in sent.err


def test_quiet_leaves_the_hints_out(hivebus: Any) -> None:
    assert hivebus.ok("send", "pm-agent", "Hello", *FROM, "-q").err == ""


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_arrives_byte_for_byte(hivebus: Any, text: str) -> None:
    hivebus.ok("send", "pm-agent", *FROM, "--", text)
    hivebus.ok("send", "pm-agent", "-", *FROM, stdin=text.encode())
    assert arrived(hivebus) == [text] * 2


def test_without_a_text_stdin_is_the_text(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", *FROM, stdin=b"  from\nstdin\n")
    assert arrived(hivebus) == ["  from\nstdin\n"]


@pytest.mark.parametrize("text", ["-v is broken", "--- a/file\n+++ b/file", "- [ ] write tests", "-q is for quiet"])
def test_a_text_with_a_dash_and_a_space_needs_no_escaping(hivebus: Any, text: str) -> None:
    hivebus.ok("send", "pm-agent", text, *FROM, "--type", "question")
    hivebus.ok("send", *FROM, "pm-agent", "--type=question", text, "--json")
    assert arrived(hivebus) == [text] * 2


def test_a_value_with_a_dash_and_a_space_stays_a_value(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", "text", *FROM, "--context", "- no json")
    assert answer.code == 65
    assert "body.context" in answer.err


def test_a_misspelt_option_is_not_sent_as_text(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", "--jsn", *FROM)
    assert answer.code == 2
    assert "--jsn" in answer.err
    assert "hivebus send TO -- TEXT" in answer.err
    assert arrived(hivebus) == []


def test_a_text_wins_over_stdin(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", "the text", *FROM, stdin=b"not this")
    assert arrived(hivebus) == ["the text"]


def test_without_a_text_and_with_nothing_on_stdin_nothing_is_sent(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", *FROM)
    assert answer.code == 2
    assert "no TEXT" in answer.err
    assert arrived(hivebus) == []


def test_an_empty_text_is_a_text(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", "", *FROM)
    assert arrived(hivebus) == [""]


def test_bytes_that_are_no_text_are_refused(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", "-", *FROM, stdin=b"caf\xe9")
    assert answer.code == 65
    assert "body.content" in answer.err
    assert "UTF-8" in answer.err


def test_json_is_sent_as_json(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", *FROM, "--data", '{"pr": 412, "ok": [true, null]}')
    hivebus.ok("send", "pm-agent", *FROM, "--data", "-", stdin=b"[1, 2]")
    assert arrived(hivebus) == [{"pr": 412, "ok": [True, None]}, [1, 2]]


def test_text_and_data_together_are_one_too_many(hivebus: Any) -> None:
    assert hivebus("send", "pm-agent", "text", "--data", "1", *FROM).code == 2


def test_every_option_reaches_the_message(hivebus: Any) -> None:
    options = {
        "--id": "order-7",
        "--type": "task_assignment",
        "--priority": "urgent",
        "--ttl": "1h",
        "--correlation-id": "order-6",
        "--reply-to": "qa-agent",
        "--max-retries": "5",
        "--retry-delay": "1m",
        "--context": '{"repo": "x"}',
        "--metadata": '{"n": 1}',
    }
    hivebus.ok("send", "pm-agent", "text", *FROM, *(word for pair in options.items() for word in pair))
    [message] = hivebus.ok("inbox", "-a", "pm-agent", "--json").json["messages"]
    assert message.pop("timestamp")
    assert message == {
        "schema_version": 1,
        "message_id": "order-7",
        "from_agent": "frontend-agent",
        "to_agent": "pm-agent",
        "message_type": "task_assignment",
        "priority": "urgent",
        "ttl": 3600,
        "body": {"content": "text", "context": {"repo": "x"}, "metadata": {"n": 1}},
        "delivery_options": {"require_ack": True, "max_retries": 5, "retry_delay": 60},
        "correlation_id": "order-6",
        "reply_to": "qa-agent",
        "traceparent": None,
    }


def test_the_same_id_twice_is_one_message(hivebus: Any) -> None:
    assert hivebus.ok("send", "pm-agent", "text", *FROM, "--id", "m-1", "--json").json["state"] == "stored"
    assert hivebus.ok("send", "pm-agent", "text", *FROM, "--id", "m-1", "--json").json["state"] == "duplicate"
    assert arrived(hivebus) == ["text"]


def test_a_delayed_message_is_scheduled(hivebus: Any) -> None:
    assert hivebus.ok("send", "pm-agent", "later", *FROM, "--delay", "1h", "--json").json["state"] == "scheduled"
    assert hivebus("receive", "-a", "pm-agent").code == 75


def test_a_list_of_agents_gets_one_message_each(hivebus: Any) -> None:
    sent = hivebus.ok("send", "a-agent,b-agent", "both", *FROM, "--json").json
    assert sent["to_agent"] == ["a-agent", "b-agent"]
    assert arrived(hivebus, "a-agent") == arrived(hivebus, "b-agent") == ["both"]


def test_a_legacy_name_is_sent_to_its_agent(hivebus: Any, tmp_path: Path) -> None:
    (tmp_path / ".hivebus.toml").write_text('[aliases]\n"Project Manager" = "pm-agent"')
    hivebus.ok("send", "Project Manager", "hello", *FROM)
    assert arrived(hivebus) == ["hello"]


REFUSED = {
    "to": (["Front End", "x"], "to_agent"),
    "agent": (["pm-agent", "x", "--agent", "Front End"], "agent"),
    "type": (["pm-agent", "x", "--type", "No Type"], "message_type"),
    "priority": (["pm-agent", "x", "--priority", "asap"], "priority"),
    "ttl": (["pm-agent", "x", "--ttl", "-5s"], "ttl"),
    "delay": (["pm-agent", "x", "--delay", "400d"], "delay"),
    "id": (["pm-agent", "x", "--id", "a b"], "message_id"),
    "correlation": (["pm-agent", "x", "--correlation-id", ""], "correlation_id"),
    "reply": (["pm-agent", "x", "--reply-to", "*"], "reply_to"),
    "retries": (["pm-agent", "x", "--max-retries", "1001"], "max_retries"),
    "retry-delay": (["pm-agent", "x", "--retry-delay", "2d"], "retry_delay"),
    "context": (["pm-agent", "x", "--context", "[1]"], "body.context"),
    "data": (["pm-agent", "--data", "{'a': 1}"], "body.content"),
    "nan": (["pm-agent", "--data", "NaN"], "body.content"),
    "deep": (["pm-agent", "--data", "[" * 40 + "]" * 40], "body.content"),
    "abyss": (["pm-agent", "--data", "[" * 100_000], "body.content"),
}


@pytest.mark.parametrize(("args", "field"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_limit_is_refused_by_name(hivebus: Any, args: list[str], field: str) -> None:
    answer = hivebus("send", *(args if "--agent" in args else [*args, *FROM]), "--json")
    assert (answer.code, answer.out) == (65, "")
    error = json.loads(answer.err)["error"]
    assert (error["code"], error["exit"]) == ("invalid_message", 65)
    assert field in error["message"]
    assert error["hint"]


def test_what_is_refused_was_not_written(hivebus: Any) -> None:
    for name in ("to", "type", "delay", "deep"):
        args, _ = REFUSED[name]
        assert hivebus("send", *FROM, *args).code == 65
    assert hivebus.ok("queues", "--json").json["queues"] == []


def test_a_message_that_is_too_large_is_refused(hivebus: Any) -> None:
    for text in (b"x" * 262_144, b"x" * 2_000_000):
        answer = hivebus("send", "pm-agent", "-", *FROM, stdin=text)
        assert answer.code == 65
        assert "262144 bytes" in answer.err


def test_the_limit_can_be_raised(hivebus: Any) -> None:
    raised = {"HIVEBUS_MAX_MESSAGE": "1MiB"}
    hivebus.ok("send", "pm-agent", "-", *FROM, stdin=b"x" * 500_000, env=raised)
    [text] = [
        each["body"]["content"] for each in hivebus.ok("inbox", "-a", "pm-agent", "--json", env=raised).json["messages"]
    ]
    assert text == "x" * 500_000


def test_who_does_not_say_who_they_are_is_told_how(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", "text")
    assert answer.code == 78
    assert "HIVEBUS_AGENT" in answer.err


def test_options_may_stand_before_the_command(hivebus: Any) -> None:
    sent = hivebus.ok("--agent", "frontend-agent", "--json", "send", "pm-agent", "text").json
    assert sent["schema"] == "hivebus.send/1"
    [message] = hivebus.ok("-a", "pm-agent", "inbox", "--json").json["messages"]
    assert message["from_agent"] == "frontend-agent"


def test_an_option_behind_the_command_wins(hivebus: Any) -> None:
    hivebus.ok("--agent", "one", "send", "pm-agent", "text", "--agent", "two")
    [message] = hivebus.ok("inbox", "-a", "pm-agent", "--json").json["messages"]
    assert message["from_agent"] == "two"


def test_without_a_server_it_says_so_and_what_to_do(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", "text", *FROM, "--url", "redis://127.0.0.1:1")
    assert (answer.code, answer.out) == (69, "")
    assert "redis://127.0.0.1:1" in answer.err
    assert "  next: " in answer.err


def test_a_url_that_nobody_serves_is_bad_config(hivebus: Any) -> None:
    answer = hivebus("send", "pm-agent", "text", *FROM, "--url", "carrier-pigeon://loft")
    assert answer.code == 78
    assert "redis" in answer.err


def test_a_number_that_is_none_is_a_usage_error(hivebus: Any) -> None:
    for option in ("--ttl", "--max-retries"):
        answer = hivebus("send", "pm-agent", "text", *FROM, option, "soon", "--json")
        assert answer.code == 2
        assert json.loads(answer.err)["error"]["code"] == "usage"
