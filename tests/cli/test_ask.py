"""`hivebus ask` and `hivebus reply`: a question and its answer, from shell to shell."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import hivebus as api

DEV = ("--agent", "dev")
PM = ("--agent", "pm")


def asked(hivebus: Any, *words: str) -> Any:
    """Ask `dev` in the background; return the process and the question, held by `dev`."""
    process = hivebus.start("ask", "dev", "Which index?", *PM, "--timeout", "50s", *words)
    taken = hivebus.ok("receive", *DEV, "--wait", "50s", "--jsonl").lines
    return process, taken[0]["message"]


def letters_of(hivebus: Any, agent: str) -> list[Any]:
    found: list[Any] = hivebus.ok("inbox", "--agent", agent, "--json").json["messages"]
    return found


def test_the_answer_is_printed(hivebus: Any) -> None:
    process, question = asked(hivebus)
    assert question["message_type"] == "question"
    hivebus.ok("reply", question["message_id"][:8], "a btree", *DEV)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "a btree\n", "")


def test_as_json_the_whole_answer_stands_beside_the_id_of_the_question(hivebus: Any) -> None:
    process, _ = asked(hivebus, "--json", "--id", "q-1")
    hivebus.ok("reply", "q-1", *DEV, "--data", '{"index": "btree"}')
    facts = json.loads(process.communicate(timeout=60)[0])
    assert facts["schema"] == "hivebus.ask/1" and facts["message_id"] == "q-1"
    assert facts["answer"]["body"]["content"] == {"index": "btree"}
    assert facts["answer"]["correlation_id"] == "q-1"


def test_no_answer_is_75_and_says_how_to_find_a_late_one(hivebus: Any) -> None:
    answer = hivebus("ask", "dev", "anyone?", *PM, "--timeout", "100ms", "--json")
    error = json.loads(answer.err)["error"]
    assert (answer.code, answer.out, error["code"], error["exit"]) == (75, "", "no_answer", 75)
    assert f"hivebus trace {error['message_id']}" in error["hint"]

    hivebus.ok("receive", *DEV)
    hivebus.ok("reply", error["message_id"], "late", *DEV)
    (late,) = letters_of(hivebus, "pm")
    assert (late["body"]["content"], late["correlation_id"]) == ("late", error["message_id"])
    thread = hivebus.ok("trace", error["message_id"], "--json").json["thread"]
    assert [(each["depth"], each["content"], each["state"]) for each in thread] == [
        (0, "anyone?", "delivered"),
        (1, "late", "queued"),
    ]


@pytest.mark.parametrize("to", ["*", "broadcast", "dev,ops"])
def test_asking_many_is_65(hivebus: Any, to: str) -> None:
    answer = hivebus("ask", to, "anyone?", *PM)
    assert answer.code == 65 and "one agent or one @pool" in answer.err


def test_an_interrupted_question_leaves_no_inbox(hivebus: Any, behind: Any) -> None:
    process, _ = asked(hivebus)
    hivebus.end(process, signal.SIGINT)
    assert behind.keys(f"{hivebus.env['HIVEBUS_NAMESPACE']}:*~*") == []
    assert {each["agent"] for each in hivebus.ok("queues", "--json").json["queues"]} == {"dev"}


def test_a_temporary_inbox_is_in_no_list_while_it_is_open(hivebus: Any, behind: Any) -> None:
    process, question = asked(hivebus)
    assert behind.keys(f"{hivebus.env['HIVEBUS_NAMESPACE']}:*~*") != []
    assert {each["agent"] for each in hivebus.ok("queues", "--json").json["queues"]} == {"dev"}
    hivebus.ok("reply", question["message_id"], "-", *DEV, stdin=b"from stdin")
    assert process.communicate(timeout=60)[0] == "from stdin\n"


def test_reply_does_not_settle_unless_it_is_told_to(hivebus: Any) -> None:
    hivebus.send("dev", "do it", "--id", "m-1", "--type", "task_assignment")
    hivebus.ok("receive", *DEV)
    facts = hivebus.ok("reply", "m-1", "done", *DEV, "--json").json
    assert (facts["to_agent"], facts["correlation_id"], facts["state"]) == ("sender", "m-1", "stored")
    assert hivebus.ok("trace", "m-1", "--json").json["state"] == "delivered"
    (reply,) = letters_of(hivebus, "sender")
    assert (reply["message_type"], reply["hops"]) == ("task_completion", 1)


def test_reply_and_ack_leave_together(hivebus: Any) -> None:
    hivebus.send("dev", "do it", "--id", "m-1")
    hivebus.ok("receive", *DEV)
    facts = hivebus.ok("reply", "m-1", "done", *DEV, "--ack", "--type", "status_update", "--json").json
    assert (facts["state"], facts["settled"]) == ("stored", "acknowledged")
    assert hivebus.ok("trace", "m-1", "--json").json["state"] == "acknowledged"
    assert [each["message_type"] for each in letters_of(hivebus, "sender")] == ["status_update"]
    assert hivebus("reply", "m-1", "again", *DEV, "--ack").code == 1


def test_what_waits_can_be_answered_and_not_acked(hivebus: Any) -> None:
    hivebus.send("dev", "do it", "--id", "m-1")
    answer = hivebus("reply", "m-1", "no time", *DEV, "--ack")
    assert answer.code == 1 and "nobody holds it" in answer.err
    assert letters_of(hivebus, "sender") == []
    assert hivebus.ok("reply", "m-1", "no time", *DEV).rows[0][1:] == ["sender", "stored", "-"]


def test_what_a_process_works_on_is_not_acked_from_outside(hivebus: Any, tmp_path: Path) -> None:
    hivebus.send("dev", "do it", "--id", "m-1")
    command = "while [ ! -e go ]; do sleep 0.05; done"
    work = hivebus.start("receive", *DEV, "--exec", command, "--lease", "60s")
    hivebus.eventually(lambda: hivebus.queue("dev")["in_flight"], what="somebody works on it")
    hivebus.ok("reply", "m-1", "it takes a while", *DEV)
    work.kill()
    # What it had started still holds its output.
    (tmp_path / "go").touch()
    work.communicate(timeout=60)
    assert len(letters_of(hivebus, "sender")) == 1


def test_a_second_answer_is_not_sent_and_it_says_so(hivebus: Any) -> None:
    hivebus.send("dev", "do it", "--id", "m-1")
    hivebus.ok("reply", "m-1", "yes", *DEV)
    answer = hivebus.ok("reply", "m-1", "no", *DEV, "--json")
    assert answer.json["state"] == "duplicate"
    assert "answered m-1 before" in answer.err and "hivebus send sender TEXT --correlation-id m-1" in answer.err
    assert [each["body"]["content"] for each in letters_of(hivebus, "sender")] == ["yes"]


def test_a_second_answer_with_the_ack_is_not_sent_either_and_it_says_so(hivebus: Any) -> None:
    hivebus.send("dev", "do it", "--id", "m-1")
    hivebus.ok("receive", *DEV)
    hivebus.ok("reply", "m-1", "yes", *DEV)
    answer = hivebus.ok("reply", "m-1", "no", *DEV, "--ack", "--json")
    assert (answer.json["state"], answer.json["settled"]) == ("duplicate", "acknowledged")
    assert "answered m-1 before" in answer.err
    assert [each["body"]["content"] for each in letters_of(hivebus, "sender")] == ["yes"]


def test_a_second_answer_to_who_waits_for_it_is_not_sent_either(hivebus: Any) -> None:
    process, question = asked(hivebus)
    hivebus.ok("reply", question["message_id"], "yes", *DEV)
    process.communicate(timeout=60)
    answer = hivebus.ok("reply", question["message_id"], "no", *DEV, "--ack", "--json")
    assert answer.json["state"] == "duplicate" and "answered" in answer.err
    assert letters_of(hivebus, "pm") == []


def test_an_answer_to_nobody_is_an_error(hivebus: Any) -> None:
    answer = hivebus("reply", "nothing", "yes", *DEV)
    assert answer.code == 1 and "dev knows no message 'nothing'" in answer.err


def test_what_is_not_kept_any_more_cannot_be_answered(hivebus: Any, behind: Any) -> None:
    hivebus.send("dev", "do it", "--id", "m-1")
    hivebus.ok("receive", *DEV, "--ack")
    behind.xtrim(f"{hivebus.env['HIVEBUS_NAMESPACE']}:{{dev}}:q:2", maxlen=0)
    answer = hivebus("reply", "m-1", "yes", *DEV)
    assert answer.code == 1 and "--correlation-id m-1" in answer.err


def test_on_a_terminal_the_answer_is_told_to_a_person(hivebus: Any) -> None:
    process, question = asked(hivebus)
    _, shown = hivebus.on_terminal("reply", question["message_id"], "yes", *DEV, "--ack")
    assert f"answered {question['message_id']} to pm (stored, acknowledged)" in shown.decode()
    process.communicate(timeout=60)


def test_a_message_that_came_too_far_is_not_received(hivebus: Any) -> None:
    far = api.Message(from_agent="a", to_agent="dev", body={"content": "x"}, message_id="far", hops=33)
    env = {"url": hivebus.env["HIVEBUS_URL"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIVEBUS_NAMESPACE", hivebus.env["HIVEBUS_NAMESPACE"])
        api.send_many([far], **env)
    answer = hivebus("receive", *DEV)
    assert answer.code == 75 and "more than 32 messages led to it" in answer.err
    assert [each["reason"] for each in hivebus.ok("dlq", "list", "--json").json["messages"]] == ["hop_limit"]


def test_the_quota_of_the_shell_is_75_and_says_when_to_try_again(hivebus: Any) -> None:
    env = {"HIVEBUS_QUOTA": "1/h"}
    hivebus.ok("send", "dev", "1", *PM, env=env)
    answer = hivebus("send", "dev", "2", *PM, "--json", env=env)
    error = json.loads(answer.err)["error"]
    assert (answer.code, error["code"]) == (75, "quota_exceeded") and "send again in" in error["hint"]
    assert hivebus.queue("dev")["waiting"] == 1


def test_functions_for_scripts_ask_and_reply(redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Thread

    monkeypatch.setenv("HIVEBUS_NAMESPACE", f"s{time.monotonic_ns()}")

    def answer() -> None:
        question = api.receive("dev", wait=50, url=redis_server.url)
        assert question is not None
        api.reply(question, "yes", from_agent="dev", url=redis_server.url)

    thread = Thread(target=answer)
    thread.start()
    found = api.ask("dev", "?", from_agent="pm", url=redis_server.url, timeout=50)
    thread.join()
    assert (found.content, found.message_type) == ("yes", "answer")
