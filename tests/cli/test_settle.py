"""`hivebus ack`, `retry`, `reject` and `extend`, by another process than the one that received."""

from __future__ import annotations

import json
from typing import Any

import pytest

import hivebus as api

ME = ("--agent", "pm-agent")


def take(hivebus: Any, *ids: str) -> None:
    for message_id in ids:
        hivebus.send("pm-agent", "x", "--id", message_id)
    hivebus.ok("receive", *ME, "-n", str(len(ids)))


def state(hivebus: Any, message_id: str) -> str:
    found: str = hivebus.ok("trace", message_id, "--json").json["state"]
    return found


def held(hivebus: Any) -> dict[str, Any]:
    return {each["message_id"]: each for each in hivebus.ok("inbox", *ME, "--json").json["leased"]}


def test_ack_ends_a_message(hivebus: Any) -> None:
    take(hivebus, "m-1")
    answer = hivebus.ok("ack", "m-1", *ME, "--json").json
    assert answer == {"schema": "hivebus.ack/1", "settled": [{"message_id": "m-1", "outcome": "done"}]}
    assert state(hivebus, "m-1") == "acknowledged"


def test_acking_twice_is_harmless(hivebus: Any) -> None:
    take(hivebus, "m-1")
    hivebus.ok("ack", "m-1", *ME)
    assert hivebus.ok("ack", "m-1", *ME).rows == [["m-1", "acknowledged"]]


def test_one_of_several_is_acked_and_the_others_stay_held(hivebus: Any) -> None:
    take(hivebus, "m-1", "m-2", "m-3")
    hivebus.ok("ack", "m-2", *ME)
    assert set(held(hivebus)) == {"m-1", "m-3"}
    assert all(each["lease_seconds"] > 1700 for each in held(hivebus).values())


def test_several_are_acked_at_once_and_no_consumer_stays(hivebus: Any) -> None:
    take(hivebus, "m-1", "m-2")
    assert hivebus.ok("ack", "m-1", "m-2", *ME).rows == [["m-1", "acknowledged"], ["m-2", "acknowledged"]]
    assert hivebus.queue("pm-agent")["consumers"] == 0


def test_the_beginning_of_an_id_will_do(hivebus: Any) -> None:
    take(hivebus, "alpha-1", "beta-1")
    hivebus.ok("ack", "al", *ME)
    assert state(hivebus, "alpha-1") == "acknowledged"


def test_a_whole_id_wins_over_the_beginning_of_another(hivebus: Any) -> None:
    take(hivebus, "m-1", "m-11")
    hivebus.ok("ack", "m-1", *ME)
    assert set(held(hivebus)) == {"m-11"}


def test_a_beginning_of_two_ids_settles_neither(hivebus: Any) -> None:
    take(hivebus, "m-1", "m-2")
    answer = hivebus("ack", "m-", *ME)
    assert answer.code == 1
    assert "m-1, m-2" in answer.err
    assert set(held(hivebus)) == {"m-1", "m-2"}


def test_one_mistake_among_several_settles_none(hivebus: Any) -> None:
    take(hivebus, "m-1")
    assert hivebus("ack", "m-1", "nobody-knows", *ME).code == 1
    assert set(held(hivebus)) == {"m-1"}


def test_retry_brings_it_back_after_its_delay(hivebus: Any) -> None:
    take(hivebus, "m-1")
    hivebus.ok("retry", "m-1", "--in", "1s", *ME)
    [line] = hivebus.ok("receive", *ME, "--wait", "30s", "--jsonl").lines
    assert (line["message"]["message_id"], line["attempt"]) == ("m-1", 2)


def test_retry_without_a_time_waits_as_the_message_asks(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--retry-delay", "1h")
    hivebus.ok("receive", *ME)
    hivebus.ok("retry", "m-1", *ME)
    event = hivebus.ok("trace", "m-1", "--json").json["events"][-1]
    assert event["event"] == "retrying"
    assert 2800 < event["due_seconds"] < 4400


def test_reject_makes_a_dead_letter_with_its_reason(hivebus: Any) -> None:
    take(hivebus, "m-1")
    hivebus.ok("reject", "m-1", "unknown\nrepository", *ME)
    [letter] = hivebus.ok("dlq", "list", "--json").json["messages"]
    assert (letter["message_id"], letter["reason"]) == ("m-1", "unknown repository")


def test_extend_renews_the_lease(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    hivebus.ok("receive", *ME, "--lease", "1m")
    hivebus.ok("extend", "m-1", "--lease", "2h", *ME)
    assert 7100 < held(hivebus)["m-1"]["lease_seconds"] <= 7200


def test_extend_never_shortens_the_lease(hivebus: Any) -> None:
    take(hivebus, "m-1")
    hivebus.ok("extend", "m-1", "--lease", "1s", *ME)
    assert held(hivebus)["m-1"]["lease_seconds"] > 1700


VERBS = [["ack"], ["retry"], ["reject"], ["extend"]]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_what_nobody_received_cannot_be_settled(hivebus: Any, verb: list[str]) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    answer = hivebus(*verb, "m-1", *ME, "--json")
    assert (answer.code, answer.out) == (1, "")
    error = json.loads(answer.err)["error"]
    assert error["code"] == "not_found"
    assert "hivebus receive" in error["hint"]


async def test_a_bus_that_works_on_a_message_keeps_it(hivebus: Any, redis_server: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    async with api.Bus(redis_server.url, agent="pm-agent", namespace=hivebus.env["HIVEBUS_NAMESPACE"]) as bus:
        async for delivery in bus.consume():
            for verb in VERBS:
                answer = hivebus(*verb, "m-1", *ME)
                assert answer.code == 77
                assert "is being worked on" in answer.err
            await delivery.ack()
            break
    assert state(hivebus, "m-1") == "acknowledged"


def test_another_agent_has_no_such_message(hivebus: Any) -> None:
    take(hivebus, "m-1")
    answer = hivebus("ack", "m-1", "--agent", "qa-agent")
    assert answer.code == 1
    assert "qa-agent knows no message 'm-1'" in answer.err


def test_a_lease_that_ran_out_cannot_be_settled_any_more(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    hivebus.ok("receive", *ME, "--lease", "1s")
    [line] = hivebus.ok("receive", *ME, "--wait", "30s", "--ack", "--jsonl").lines
    assert line["message"]["message_id"] == "m-1"
    answer = hivebus("retry", "m-1", *ME)
    assert answer.code == 1
    assert "acknowledged" in answer.err


def test_no_id_at_all_is_a_usage_error(hivebus: Any) -> None:
    for verb in VERBS:
        assert hivebus(*verb, *ME).code == 2
