"""Pools from the shell: workers without Python, what is held there, and what is refused."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .conftest import Cli


@pytest.fixture(autouse=True)
def pool(hivebus: Cli) -> None:
    """Somebody has looked into the pool before, so it is there."""
    assert hivebus("receive", "--pool", "architects", "--agent", "founder").code == 75


def waiting(hivebus: Cli, pool: str = "@architects") -> int:
    queue = hivebus.queue(pool)
    return 0 if queue is None else queue["waiting"] + queue["in_flight"]


def test_a_pool_is_made_by_its_first_reader_and_read_by_its_members(hivebus: Cli) -> None:
    assert hivebus("receive", "--pool", "testers", "--agent", "one").code == 75
    sent = hivebus.send("@testers", "try it")
    [got] = hivebus.ok("receive", "--pool", "@testers", "--agent", "two", "--ack", "--jsonl").lines
    assert got["message"]["message_id"] == sent and got["message"]["to_agent"] == "@testers"
    assert hivebus("receive", "--agent", "two").code == 75


def test_the_own_inbox_is_not_read_by_a_member(hivebus: Cli) -> None:
    hivebus.send("one", "for one alone")
    assert hivebus("receive", "--pool", "architects", "--agent", "one").code == 75
    assert hivebus.queue("one")["waiting"] == 1


def test_what_an_agent_holds_of_a_pool_is_found_and_settled_by_its_id(hivebus: Cli) -> None:
    sent = [hivebus.send("@architects", f"work {number}") for number in range(4)]
    hivebus.ok("receive", "--pool", "architects", "--agent", "one", "-n", "4", "--jsonl")
    [*held] = hivebus.ok("inbox", "--agent", "one", "--json").json["leased"]
    assert [(each["message_id"], each["pool"]) for each in held] == [(each, "architects") for each in sent]
    assert "held" in hivebus.ok("inbox", "--agent", "one").out
    hivebus.ok("ack", sent[0][:12], "--agent", "one")
    hivebus.ok("extend", sent[1], "--lease", "2h", "--agent", "one")
    hivebus.ok("retry", sent[2], "--in", "1h", "--agent", "one")
    hivebus.ok("reject", sent[3], "no", "--agent", "one")
    # Twice is harmless.
    hivebus.ok("ack", sent[0], "--agent", "one")
    queue = hivebus.queue("@architects")
    assert (queue["in_flight"], queue["retrying"], queue["dead"]) == (1, 1, 1)


def test_what_somebody_else_holds_is_left_to_them(hivebus: Cli) -> None:
    sent = hivebus.send("@architects", "work")
    hivebus.ok("receive", "--pool", "architects", "--agent", "one", "--jsonl")
    refused = hivebus("ack", sent, "--agent", "two")
    assert refused.code == 77 and "is being worked on by" in refused.err
    assert hivebus("ack", sent[:8], "--agent", "two").code != 0
    assert hivebus.ok("inbox", "--agent", "two", "--json").json["leased"] == []
    assert "at work" in hivebus.ok("inbox", "--pool", "architects", "--agent", "two").out
    hivebus.ok("ack", sent, "--agent", "one")


def test_saboteur_without_the_name_in_it_anybody_settles_what_another_agent_holds(hivebus: Cli) -> None:
    sent = hivebus.send("@architects", "work")
    hivebus.ok("receive", "--pool", "architects", "--agent", "one", "--jsonl")
    sabotage = "import hivebus.cli.settle as it; it.is_mine = lambda consumer, agent: True"
    process = hivebus.start("ack", sent, "--agent", "two", sabotage=sabotage)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_beginning_that_fits_two_held_messages_is_refused(hivebus: Cli) -> None:
    for number in (1, 2):
        hivebus.send("@architects", "work", "--id", f"twin-{number}")
    hivebus.ok("receive", "--pool", "architects", "--agent", "one", "-n", "2", "--jsonl")
    answer = hivebus("ack", "twin", "--agent", "one")
    assert answer.code != 0 and "is the beginning of 2 ids" in answer.err


def test_workers_without_python_share_the_work(hivebus: Cli, tmp_path: Path) -> None:
    workers = {
        name: hivebus.start(
            "receive", "--pool", "architects", "--agent", name, "--follow", "--quiet",
            "--exec", f"echo $HIVEBUS_MESSAGE_ID >> {tmp_path / name}.done",
        )
        for name in ("one", "two", "three")
    }  # fmt: skip
    try:
        hivebus.eventually(
            lambda: (hivebus.queue("@architects") or {}).get("consumers") == 3, what="three members read"
        )
        names = [f"m-{number}" for number in range(30)]
        hivebus.ok("send", "@architects", "-", "--agent", "pm", "--id", names[0], stdin=b"x")
        for name in names[1:]:
            hivebus.send("@architects", "x", "--id", name)
        hivebus.eventually(lambda: waiting(hivebus) == 0, what="all is done")
    finally:
        ended = [hivebus.end(process, signal.SIGTERM).code for process in workers.values()]
    done = {name: (tmp_path / f"{name}.done").read_text().split() for name in workers}
    assert ended == [0, 0, 0]
    assert sorted(each for lines in done.values() for each in lines) == sorted(names)
    assert all(8 <= len(lines) <= 12 for lines in done.values()), {name: len(lines) for name, lines in done.items()}


def test_dead_letters_of_a_pool_are_listed_and_brought_back_by_its_name(hivebus: Cli) -> None:
    sent = hivebus.send("@architects", "work")
    hivebus.ok("receive", "--pool", "architects", "--agent", "one", "--jsonl")
    hivebus.ok("reject", sent, "no", "--agent", "one")
    [letter] = hivebus.ok("dlq", "list", "--agent", "@architects", "--json").json["messages"]
    assert (letter["message_id"], letter["agent"], letter["reason"]) == (sent, "@architects", "no")
    hivebus.ok("dlq", "requeue", "--agent", "@architects", "--yes")
    assert hivebus.queue("@architects")["waiting"] == 1
    assert hivebus.ok("cancel", sent, "--agent", "@architects").code == 0


def test_the_past_of_a_pool_is_sent_again_by_its_name(hivebus: Cli) -> None:
    hivebus.send("@architects", "work")
    hivebus.ok("receive", "--pool", "architects", "--agent", "one", "--ack", "--jsonl")
    report = hivebus.ok("replay", "--agent", "@architects", "--since", "1h", "--yes", "--json").json
    assert report["to"] == "@architects" and hivebus.queue("@architects")["waiting"] == 1
    report = hivebus.ok("replay", "-a", "@architects", "--since", "1h", "--to", "@others", "--dry-run", "--json").json
    assert report["to"] == "@others"
    assert hivebus.ok("queues", "trim", "-a", "@architects", "--older-than", "1h", "--dry-run").code == 0


def test_a_pool_that_does_not_exist_is_not_found_and_the_close_names_are_shown(hivebus: Cli) -> None:
    hivebus.send("@architects", "work")
    answer = hivebus("inbox", "--pool", "architetcs", "--agent", "one")
    assert answer.code != 0 and "@architects" in answer.err
    assert hivebus.queue("@architetcs") is None


def test_what_is_no_pool_and_no_agent_is_refused(hivebus: Cli) -> None:
    assert hivebus("receive", "--pool", "Architects!", "--agent", "one").code == 65
    assert hivebus("receive", "--pool", "sys", "--agent", "one").code == 65
    assert hivebus("receive", "--agent", "@architects").code == 78
    assert hivebus("dlq", "list", "--agent", "@Architects!").code == 65
    assert hivebus("receive", "--pool-policy", "least_loaded", "--agent", "one").code == 2
    assert hivebus("receive", "--pool", "a", "--pool-policy", "random", "--agent", "one").code == 2


def test_a_policy_is_set_by_whoever_reads(hivebus: Cli) -> None:
    assert hivebus("receive", "--pool", "a", "--pool-policy", "least_loaded", "--agent", "one").code == 75
    assert hivebus("receive", "--pool", "a", "--agent", "two").code == 75
