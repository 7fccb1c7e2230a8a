"""`hivebus dlq requeue` and `purge`: what was shown is what is changed, and nobody is surprised."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest

from hivebus.cli.letters import PAGE

from .conftest import PROGRAM

ALL = ("--older-than", "0s")
MANY = PAGE + 100


class Letters:
    """Writes dead letters as the server keeps them, and looks at what is left."""

    def __init__(self, redis: Any, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace

    def key(self, name: str, agent: str = "pm-agent") -> str:
        return f"{self.namespace}:{{{agent}}}:{name}"

    def add(self, message_id: str, reason: str, *, agent: str = "pm-agent", at: str = "*", level: int = 2) -> None:
        body = {"content": f"text of {message_id}"}
        message = {"message_id": message_id, "from_agent": "sender", "to_agent": agent, "body": body}
        facts = {"i": message_id, "d": json.dumps(message), "r": reason, "a": 1, "f": 1, "c": 0, "l": level}
        entry = self.redis.xadd(self.key("dlq", agent), {**facts, "e": "1795000000000-0" if at == "*" else at}, "*")
        self.redis.set(self.key(f"id:{message_id}", agent), f"d{entry}")
        self.redis.sadd(f"{self.namespace}:{{@sys}}:inboxes", agent)

    def add_strange(self) -> None:
        self.redis.xadd(
            self.key("dlq"), {"i": "", "d": "sensor=42", "r": "invalid:json", "l": 2, "e": "1795000000000-1"}
        )
        self.redis.sadd(f"{self.namespace}:{{@sys}}:inboxes", "pm-agent")

    def dead(self, agent: str = "pm-agent") -> list[str]:
        return [fields["i"] for _, fields in self.redis.xrange(self.key("dlq", agent))]

    def queued(self, agent: str = "pm-agent", level: int = 2) -> list[str]:
        return [fields["i"] for _, fields in self.redis.xrange(self.key(f"q:{level}", agent))]


@pytest.fixture
def letters(hivebus: Any, behind: Any) -> Letters:
    return Letters(behind, hivebus.env["HIVEBUS_NAMESPACE"])


def at_terminal(hivebus: Any, *args: str, answer: str) -> tuple[int, str, str]:
    """Run a command at a terminal and type *answer*; return its code, its stdout and what the terminal showed."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, *args], stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=hivebus.env, cwd=hivebus.cwd, text=True
    ) as process:
        os.close(slave)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(master, 65536)
        os.write(master, f"{answer}\n".encode())
        assert process.stdout is not None
        out = process.stdout.read()
        process.wait(timeout=60)
    os.close(master)
    return process.returncode, out, shown.decode()


# --- Which ones -------------------------------------------------------------------------------------------


def test_letters_are_requeued_by_the_beginning_of_their_ids(hivebus: Any, letters: Letters) -> None:
    for name in ("first-1", "second-2", "second-3"):
        letters.add(name, "broken")

    answer = hivebus.ok("dlq", "requeue", "fir", "second-3", "first-1", "--yes", "--json")

    facts = answer.json
    assert (facts["schema"], facts["dry_run"]) == ("hivebus.dlq.requeue/1", False)
    told = {(each["message_id"], each["agent"], each["outcome"]) for each in facts["messages"]}
    assert told == {("first-1", "pm-agent", "requeued"), ("second-3", "pm-agent", "requeued")}
    assert letters.dead() == ["second-2"] and letters.queued() == ["first-1", "second-3"]


@pytest.mark.parametrize("name", ["second", "nobody", ""], ids=["two begin so", "unknown", "nothing"])
def test_one_name_that_is_not_one_letter_leaves_all_as_they_are(hivebus: Any, letters: Letters, name: str) -> None:
    for each in ("first-1", "second-2", "second-3"):
        letters.add(each, "broken")

    answer = hivebus("dlq", "purge", "first-1", name, "--yes")

    assert (answer.code, answer.out) == (1, "") and len(letters.dead()) == 3


def test_a_part_of_the_reason_chooses_and_stars_mean_themselves(hivebus: Any, letters: Letters) -> None:
    for name, reason in (("a", "max_retries: ValueError: no [x]*"), ("b", "max_retries: OSError"), ("c", "no_handler")):
        letters.add(name, reason)

    def chosen(text: str) -> list[str]:
        facts = hivebus.ok("dlq", "requeue", "--reason", text, "--dry-run", "--json").json
        return [each["message_id"] for each in facts["messages"]]

    assert chosen("max_retries") == ["a", "b"]
    assert chosen("[x]*") == ["a"]
    assert chosen("max_*") == chosen("Max_retries") == []
    assert letters.dead() == ["a", "b", "c"]


def test_age_agent_and_limit_choose_together(hivebus: Any, letters: Letters, behind: Any) -> None:
    now = behind.time()[0] * 1000
    for name, minutes in (("old", 120), ("older", 180), ("young", 10)):
        letters.add(name, "broken", at=f"{now - minutes * 60_000}-0")
    letters.add("theirs", "broken", agent="qa-agent", at=f"{now - 240 * 60_000}-0")

    hour = ("--older-than", "1h")
    everywhere = hivebus.ok("dlq", "purge", *hour, "--dry-run", "--json").json["messages"]
    assert [each["message_id"] for each in everywhere] == ["theirs", "older", "old"]
    assert all(each["outcome"] == "selected" for each in everywhere)
    hivebus.ok("dlq", "purge", *hour, "--agent", "pm-agent", "--limit", "1", "--yes")

    assert letters.dead() == ["old", "young"] and letters.dead("qa-agent") == ["theirs"]


@pytest.mark.parametrize(
    "words", [[], ["m-1", "--reason", "x"], ["m-1", "--limit", "1"]], ids=["nothing", "id and reason", "id and limit"]
)
def test_who_does_not_say_which_is_told_how(hivebus: Any, letters: Letters, words: list[str]) -> None:
    letters.add("m-1", "x")
    # An operator whose shell belongs to an agent has not chosen that agent's letters.
    answer = hivebus("dlq", "purge", *words, "--yes", env={"HIVEBUS_AGENT": "pm-agent"})
    assert answer.code == 2 and letters.dead() == ["m-1"]
    assert "--reason" in answer.err


def test_more_letters_than_fit_into_one_page_are_all_purged(hivebus: Any, letters: Letters) -> None:
    with letters.redis.pipeline() as pipeline:
        direct = Letters(pipeline, letters.namespace)
        for n in range(MANY):
            pipeline.xadd(direct.key("dlq"), {"i": f"m-{n}", "d": "{}", "r": "x", "l": 2, "e": "1795000000000-0"})
        pipeline.sadd(f"{letters.namespace}:{{@sys}}:inboxes", "pm-agent")
        pipeline.execute()

    answer = hivebus.ok("dlq", "purge", *ALL, "--yes")

    assert len(answer.rows) == MANY and answer.rows[0] == ["m-0", "pm-agent", "purged"]
    assert letters.dead() == []
    assert "no such dead letters" in hivebus.ok("dlq", "purge", *ALL, "--yes").err


# --- First a look -----------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_table_and_changes_nothing(hivebus: Any, letters: Letters) -> None:
    letters.add("m-1", "because")

    answer = hivebus.ok("dlq", "requeue", "m-1", "--dry-run")

    [[name, _, agent, _, tries, reason, sender, preview]] = answer.rows
    assert (name, agent, tries, reason, sender) == ("m-1", "pm-agent", "1", "because", "sender")
    assert preview == "text of m-1" and "1 would be requeued; nothing was changed" in answer.err
    assert letters.dead() == ["m-1"] and letters.queued() == []


@pytest.mark.parametrize("verb", ["requeue", "purge"])
def test_where_nobody_can_be_asked_yes_is_demanded(hivebus: Any, letters: Letters, verb: str) -> None:
    letters.add("m-1", "broken")
    answer = hivebus("dlq", verb, "m-1")
    assert (answer.code, answer.out) == (2, "") and "--yes" in answer.err
    assert letters.dead() == ["m-1"]


def test_at_a_terminal_a_preview_and_a_question_come_first(hivebus: Any, letters: Letters) -> None:
    for n in range(25):
        letters.add(f"m-{n:02}", "broken")

    code, out, shown = at_terminal(hivebus, "dlq", "purge", *ALL, answer="n")
    assert (code, out, len(letters.dead())) == (130, "", 25)
    assert "Delete 25 dead letters for good? [y/N]" in shown and "m-00" in shown
    assert "m-20" not in shown and "and 5 more" in shown

    code, out, shown = at_terminal(hivebus, "dlq", "requeue", "m-07", answer="y")
    assert (code, out) == (0, "m-07\tpm-agent\trequeued\n")
    assert "Queue 1 dead letter again? [y/N]" in shown
    assert letters.queued() == ["m-07"]


def test_with_json_nobody_is_asked_even_at_a_terminal(hivebus: Any, letters: Letters) -> None:
    letters.add("m-1", "broken")
    master, slave = pty.openpty()
    done = subprocess.run(
        [PROGRAM, "dlq", "purge", "m-1", "--json"],
        stdin=slave,
        capture_output=True,
        env=hivebus.env,
        timeout=60,
        check=False,
    )
    os.close(slave)
    os.close(master)
    assert (done.returncode, done.stdout) == (2, b"") and letters.dead() == ["m-1"]


def test_what_died_while_the_question_stood_is_not_changed(hivebus: Any, letters: Letters) -> None:
    letters.add("m-1", "broken")
    master, slave = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, "dlq", "purge", *ALL], stdin=slave, stderr=slave, stdout=slave, env=hivebus.env
    ) as it:
        os.close(slave)
        while b"[y/N]" not in os.read(master, 65536):
            pass
        letters.add("m-2", "broken")
        os.write(master, b"y\n")
        it.wait(timeout=60)
    os.close(master)
    assert it.returncode == 0 and letters.dead() == ["m-2"]


# --- What is refused, and what is told --------------------------------------------------------------------


def test_a_message_without_an_id_is_refused_with_the_reason_and_can_be_purged(hivebus: Any, letters: Letters) -> None:
    letters.add_strange()
    letters.add("m-1", "broken")
    [_, strange] = hivebus.ok("dlq", "list", "--json").json["messages"]
    if strange["message_id"]:
        [strange, _] = hivebus.ok("dlq", "list", "--json").json["messages"]
    assert strange["message_id"] == "" and strange["letter"].startswith("dead/")
    assert strange["letter"] in {row[0] for row in hivebus.ok("dlq", "list").rows}

    answer = hivebus("dlq", "requeue", *ALL, "--yes")
    assert answer.code == 1 and "without a message id" in answer.err
    assert sorted(row[2] for row in answer.rows) == ["refused", "requeued"]
    assert letters.dead() == [""]

    assert "sensor=42" in hivebus.ok("dlq", "show", strange["letter"]).out
    hivebus.ok("dlq", "purge", strange["letter"][:-1], "--yes")
    assert letters.dead() == []


def test_how_often_a_message_was_requeued_is_shown(hivebus: Any) -> None:
    me = ("--agent", "pm-agent")
    hivebus.send("pm-agent", "x", "--id", "m-1", "--priority", "high")
    hivebus.ok("receive", *me)
    hivebus.ok("reject", "m-1", "first", *me)
    assert hivebus.ok("dlq", "list", "--json").json["messages"][0]["requeued"] == 0
    hivebus.ok("dlq", "requeue", "m-1", "--yes")
    [line] = hivebus.ok("receive", *me, "--jsonl").lines
    assert (line["message"]["message_id"], line["message"]["priority"], line["attempt"]) == ("m-1", "high", 1)
    hivebus.ok("reject", "m-1", "second", *me)
    assert hivebus.ok("dlq", "list", "--json").json["messages"][0]["requeued"] == 1
    assert [row[5] for row in hivebus.ok("dlq", "list").rows] == ["second (requeued before: 1)"]
    assert "requeued    1" in hivebus.ok("dlq", "show", "m-1").out


def test_saboteur_a_second_look_would_change_what_nobody_was_shown(hivebus: Any, letters: Letters) -> None:
    sabotage = (
        "import hivebus.cli.dlq_changes as it\n"
        "carry_out = it._carried_out\n"
        "async def look_again(app, change, letters):\n"
        "    return await carry_out(app, change, await it._chosen(app, it.Wanted(older_than=0)))\n"
        "it._carried_out = look_again\n"
        "it._ask = lambda *args: (print('asked', flush=True), __import__('time').sleep(1))\n"
        "it._show = lambda *args, **options: 0\n"
    )
    letters.add("m-1", "broken")
    with hivebus.start("dlq", "purge", *ALL, sabotage=sabotage) as process:
        assert process.stdout.readline() == "asked\n"
        letters.add("m-2", "broken")
        process.communicate(timeout=60)
    assert letters.dead() == []


def test_saboteur_without_the_demand_for_yes_a_script_deletes_unasked(hivebus: Any, letters: Letters) -> None:
    letters.add("m-1", "broken")
    sabotage = "import hivebus.cli.dlq_changes as it; it._ask = lambda app, change, letters: None"
    with hivebus.start("dlq", "purge", "m-1", sabotage=sabotage) as process:
        process.communicate(timeout=60)
    assert (process.returncode, letters.dead()) == (0, [])
