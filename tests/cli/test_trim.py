"""`hivebus queues trim`: shows what would go and what is in the way, and takes nothing else."""

from __future__ import annotations

from typing import Any

import pytest

ME = ("--agent", "pm-agent")


def handled(hivebus: Any, *names: str, agent: str = "pm-agent") -> None:
    for name in names:
        hivebus.send(agent, "x" * 500, "--id", name)
    hivebus.ok("receive", "--agent", agent, "-n", str(len(names)), "--ack")


def trimmed(hivebus: Any, *options: str) -> dict[str, Any]:
    facts: dict[str, Any] = hivebus.ok("queues", "trim", "--json", *options).json
    assert facts["schema"] == "hivebus.queues.trim/1"
    return facts


def test_a_dry_run_shows_what_would_go_and_changes_nothing(hivebus: Any) -> None:
    handled(hivebus, "m-1", "m-2", "m-3")
    handled(hivebus, "n-1", agent="qa-agent")
    for _ in range(2):
        facts = trimmed(hivebus, "--older-than", "0s", "--dry-run")
        assert (facts["dry_run"], facts["messages"]) == (True, 4)
        assert [(each["agent"], each["messages"]) for each in facts["inboxes"]] == [("pm-agent", 3), ("qa-agent", 1)]
        assert facts["bytes"] == sum(each["bytes"] for each in facts["inboxes"]) > 2000


def test_settled_messages_go_and_the_inbox_that_was_named_alone_is_touched(hivebus: Any) -> None:
    handled(hivebus, "m-1", "m-2")
    handled(hivebus, "n-1", agent="qa-agent")
    assert trimmed(hivebus, "--older-than", "0s", "--yes", *ME)["messages"] == 2
    assert trimmed(hivebus, "--older-than", "0s", "--yes", *ME)["messages"] == 0
    assert trimmed(hivebus, "--max-bytes", "0", "--yes")["messages"] == 1


def test_without_bounds_those_of_the_settings_hold(hivebus: Any) -> None:
    handled(hivebus, "m-1")
    assert trimmed(hivebus, "--yes")["messages"] == 0
    hivebus.eventually(
        lambda: hivebus.ok("queues", "trim", "--dry-run", "--json", env={"HIVEBUS_RETENTION": "1s"}).json["messages"],
        what="a message is older than a second",
    )


def test_what_is_in_the_way_is_named_with_who_has_it(hivebus: Any) -> None:
    handled(hivebus, "m-1")
    hivebus.send("pm-agent", "x", "--id", "held")
    hivebus.ok("receive", *ME)
    handled(hivebus, "m-2")
    hivebus.send("qa-agent", "x", "--id", "unread", "--priority", "high")
    facts = trimmed(hivebus, "--older-than", "0s", "--yes")
    assert facts["messages"] == 1
    [mine, theirs] = facts["inboxes"]
    [held] = mine["blocked_by"]
    assert (held["kind"], held["message_id"], held["group"]) == ("held", "held", "main")
    assert held["consumer"].startswith("cli-")
    [unread] = theirs["blocked_by"]
    assert (unread["kind"], unread["count"], unread["consumer"], unread["priority"]) == ("unread", 1, None, 3)
    rows = hivebus.ok("queues", "trim", "--older-than", "0s", "--dry-run").rows
    assert "holds held since" in rows[0][-1]
    assert "1 unread since" in rows[1][-1]
    # What is younger than the bound is in nobody's way.
    assert trimmed(hivebus, "--older-than", "1h", "--dry-run")["inboxes"][0]["blocked_by"] == []


def test_where_nobody_can_be_asked_it_takes_a_yes(hivebus: Any) -> None:
    handled(hivebus, "m-1")
    answer = hivebus("queues", "trim", "--older-than", "0s")
    assert (answer.code, answer.out) == (2, "")
    assert "add --yes, or --dry-run" in answer.err
    assert trimmed(hivebus, "--older-than", "0s", "--dry-run")["messages"] == 1


@pytest.mark.parametrize("wrong", [("--max-bytes", "lots"), ("--older-than", "soon"), ("--older-than", "-1s")])
def test_a_wrong_bound_is_a_usage_error(hivebus: Any, wrong: tuple[str, str]) -> None:
    answer = hivebus("queues", "trim", *wrong, "--dry-run")
    assert answer.code == 2
    assert wrong[1] in answer.err


def test_losses_are_shown_where_there_are_any(hivebus: Any, behind: Any) -> None:
    for name in ("m-1", "m-2", "m-3"):
        hivebus.send("pm-agent", "x", "--id", name)
    hivebus.send("qa-agent", "x")
    assert "lost" not in hivebus.queue("pm-agent")
    behind.xtrim(f"{hivebus.env['HIVEBUS_NAMESPACE']}:{{pm-agent}}:q:2", maxlen=1, approximate=False)
    # Noticed by whoever keeps house, such as an agent that goes on receiving.
    with hivebus.start("receive", "--follow", "--ack", "--jsonl", *ME, sabotage=HURRIED) as process:
        hivebus.eventually(lambda: hivebus.queue("pm-agent").get("lost"), what="the loss is noticed")
        hivebus.end(process)
    assert hivebus.queue("pm-agent")["lost"] == 2
    assert "lost" not in hivebus.queue("qa-agent")
    rows = hivebus.ok("queues").rows
    assert [row[0] for row in rows] == ["pm-agent", "qa-agent"]
    assert [row[8] for row in rows] == ["2", "0"]


HURRIED = """
from functools import partial
from hivebus.cli import receive
receive.Plan = partial(receive.Plan, own_every=0.1)
"""
