"""`hivebus agents`: who is registered, who is there, and changes that lose no mail."""

from __future__ import annotations

import json
from typing import Any

ME = ("--agent", "boss")


def agents(hivebus: Any) -> dict[str, Any]:
    facts = hivebus.ok("agents", "list", "--json").json
    assert facts["schema"] == "hivebus.agents/1"
    return {each["agent"]: each for each in facts["agents"]}


def here(hivebus: Any, *names: str) -> None:
    for name in names:
        hivebus("receive", "--agent", name)


def test_who_has_read_is_listed_with_what_waits(hivebus: Any) -> None:
    assert "no agent is registered yet" in hivebus.ok("agents").err
    here(hivebus, "dev", "qa")
    hivebus.send("dev", "one")
    hivebus.send("dev", "two", "--delay", "1h")
    found = agents(hivebus)
    assert list(found) == ["dev", "qa"]
    dev = found["dev"]
    assert (dev["presence"], dev["unread"], dev["scheduled"], dev["kind"]) == ("live", 1, 1, "command")
    assert dev["last_seen_seconds"] < 60 and dev["oldest_waiting_seconds"] is not None
    assert [row[:3] for row in hivebus.ok("agents").rows] == [["dev", "live", "1"], ["qa", "live", "0"]]


def test_who_was_not_seen_for_long_is_idle_and_then_gone(hivebus: Any, behind: Any) -> None:
    here(hivebus, "dev", "qa")
    key = f"{hivebus.env['HIVEBUS_NAMESPACE']}:{{@sys}}:agents"
    for name, ago in (("dev", 100), ("qa", 10_000)):
        version, deadline, text = behind.hget(key, name).split(":", 2)
        facts = json.loads(text)
        behind.hset(key, name, f"{version}:{deadline}:{json.dumps({**facts, 'seen': facts['seen'] - ago})}")
    assert {name: each["presence"] for name, each in agents(hivebus).items()} == {"dev": "idle", "qa": "gone"}


def test_one_agent_is_shown_in_full_and_a_misspelt_one_is_guessed(hivebus: Any) -> None:
    here(hivebus, "dev")
    rows = dict(hivebus.ok("agents", "show", "dev").rows)
    assert (rows["agent"], rows["presence"], rows["subscriptions"]) == ("dev", "live", "-")
    [facts] = hivebus.ok("agents", "show", "dev", "--json").json["agents"]
    assert facts["agent"] == "dev"
    answer = hivebus("agents", "show", "devv")
    assert answer.code == 1
    assert "did you mean dev?" in answer.err


def test_a_watch_with_json_is_one_document_a_line(hivebus: Any) -> None:
    here(hivebus, "dev")
    process = hivebus.start("agents", "list", "--watch", "0.2s", "--json")
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert hivebus.end(process).code == 0
    assert [each["schema"] for each in lines] == ["hivebus.agents/1"] * 2


def test_on_a_terminal_there_are_heads(hivebus: Any) -> None:
    here(hivebus, "dev")
    for words, head in (
        (("list",), b"PRESENCE"),
        (("forget", "dev", "--dry-run"), b"OUTCOME"),
        (("show", "dev"), b"WHAT"),
    ):
        code, shown = hivebus.on_terminal("agents", *words)
        assert (code, head in shown) == (0, True)


# --- Renaming -----------------------------------------------------------------------------------------


def test_a_renamed_agent_gets_what_is_sent_to_its_old_name(hivebus: Any) -> None:
    here(hivebus, "dev")
    hivebus.ok("agents", "rename", "dev", "api", "--dry-run")
    assert list(agents(hivebus)) == ["dev"]
    assert hivebus("agents", "rename", "dev", "api").code == 2, "nobody can be asked"
    assert hivebus.ok("agents", "rename", "dev", "api", "--yes").rows == [["dev", "api", "renamed"]]
    assert list(agents(hivebus)) == ["api"]
    message_id = hivebus.send("dev", "to the old name")
    assert hivebus.queue("dev")["waiting"] == 0
    [line] = hivebus.ok("receive", "--agent", "api", "--jsonl").lines
    assert (line["message"]["message_id"], line["message"]["to_agent"]) == (message_id, "dev")
    assert hivebus.ok("agents", "rename", "dev", "api", "--yes", "--json").json["left_behind"] == 0, "repeated"
    answer = hivebus("agents", "show", "dev")
    assert "dev is called api now" in answer.err
    for words in ([], ["--follow", "--wait", "100ms"]):
        answer = hivebus("receive", "--agent", "dev", *words)
        assert answer.code == 75 and "its mail goes to api" in answer.err
    assert "mail goes to" not in hivebus("receive", "--agent", "api").err
    assert dict(hivebus.ok("agents", "show", "api").rows)["formerly"] == "dev"


def test_a_rename_is_refused_while_mail_waits_or_the_name_is_taken(hivebus: Any) -> None:
    here(hivebus, "dev", "qa")
    hivebus.send("dev", "x")
    answer = hivebus("agents", "rename", "dev", "api", "--yes")
    assert answer.code == 75
    assert "1 of its messages are not settled" in answer.err
    assert hivebus.queue("dev")["waiting"] == 1
    assert "there is an agent qa already" in hivebus("agents", "rename", "dev", "qa", "--yes").err
    assert hivebus("agents", "rename", "nobody", "api", "--yes").code == 1
    assert hivebus("agents", "rename", "dev", "dev", "--yes").code == 2
    assert hivebus("agents", "rename", "dev", "Not A Name", "--yes").code == 65


# --- Forgetting and fallback --------------------------------------------------------------------------


def test_a_forgotten_agent_keeps_its_mail_and_is_left_out_of_broadcasts(hivebus: Any) -> None:
    here(hivebus, "dev", "qa")
    hivebus.send("dev", "x")
    assert hivebus.ok("agents", "forget", "dev", "--dry-run").rows == [["dev", "1", "would be forgotten"]]
    assert hivebus("agents", "forget", "dev").code == 2
    facts = hivebus.ok("agents", "forget", "dev", "--yes", "--json").json
    assert facts == {"schema": "hivebus.agents.forget/1", "agents": [{"agent": "dev", "unread": 1}], "dry_run": False}
    assert list(agents(hivebus)) == ["qa"]
    hivebus.ok("broadcast", "y", *ME)
    assert hivebus.queue("dev")["waiting"] == 1
    assert hivebus("agents", "forget", "dev", "--yes").code == 1


def test_mail_for_who_is_gone_goes_to_the_fallback(hivebus: Any) -> None:
    hivebus.ok("agents", "fallback", "dev", "qa", "--after", "1s")
    answer = hivebus.ok("send", "dev", "x", *ME)
    assert "dev has never read its inbox: rerouted to qa" in answer.err
    [line] = hivebus.ok("receive", "--agent", "qa", "--jsonl").lines
    assert line["message"]["rerouted_from"] == "dev"
    hivebus.ok("agents", "fallback", "dev", "none")
    hivebus.send("dev", "y")
    assert hivebus.queue("dev")["waiting"] == 1
    assert hivebus("agents", "fallback", "dev", "@nobody").code == 1
    hivebus("receive", "--agent", "qa", "--pool", "backend", "--wait", "0s")
    assert "close to it: @backend" in hivebus("agents", "fallback", "dev", "@backnd").err
    assert hivebus("agents", "fallback", "dev", "dev").code == 65


# --- Topics -------------------------------------------------------------------------------------------


def test_an_agent_in_a_shell_subscribes_and_unsubscribes(hivebus: Any) -> None:
    audit = ("--agent", "audit")
    facts = hivebus.ok("agents", "subscribe", "agent.*.event", "agent.dev.#", *audit, "--json").json
    assert facts["subscriptions"] == ["agent.*.event", "agent.dev.#"]
    message_id = hivebus.send("qa", "built", "--type", "event")
    [line] = hivebus.ok("receive", *audit, "--ack", "--jsonl").lines
    assert (line["message"]["message_id"], line["message"]["to_agent"]) == (message_id, "qa")
    assert agents(hivebus)["audit"]["subscriptions"] == ["agent.*.event", "agent.dev.#"]
    assert hivebus.ok("agents", "unsubscribe", "agent.*.event", *audit).rows == [["audit", "agent.dev.#"]]
    assert "audit has no subscriptions" in hivebus.ok("agents", "unsubscribe", "agent.dev.#", *audit).err
    hivebus.send("qa", "built", "--type", "event")
    assert hivebus.queue("audit")["waiting"] == 0
    answer = hivebus("agents", "subscribe", "agent.dev", *audit)
    assert answer.code == 65
    assert "agent.NAME.TYPE" in answer.err


def test_a_reply_from_the_shell_goes_to_subscribers_but_waits_for_none_that_is_full(hivebus: Any) -> None:
    hivebus.ok("agents", "subscribe", "agent.*.answer", "--agent", "audit")
    small = ("--url", f"{hivebus.env['HIVEBUS_URL']}?max_messages=1")
    for number in range(2):
        question = hivebus.send("dev", "well?", "--type", "question")
        hivebus.ok("receive", "--agent", "dev")
        hivebus.ok("reply", question, "yes", "--ack", "--agent", "dev", *(small if number else ()))
    assert hivebus.queue("audit")["waiting"] == 1
    assert hivebus.queue("sender")["waiting"] == 2


def test_who_reads_a_pool_is_listed_with_it(hivebus: Any) -> None:
    hivebus("receive", "--pool", "architects", "--agent", "dev")
    assert agents(hivebus)["dev"]["pools"] == ["architects"]
