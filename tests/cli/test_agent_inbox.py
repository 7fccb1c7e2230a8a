"""A language model loses its context: `hivebus inbox` in a new process shows what the old one took."""

from __future__ import annotations

import signal
from typing import Any

import pytest

import hivebus as api

ME = ("--agent", "pm-agent")


def test_a_fresh_process_finds_what_the_last_one_took_and_settles_it(hivebus: Any) -> None:
    hivebus.send("pm-agent", "review the login page", "--id", "m-1", "--type", "task_assignment")
    hivebus.send("pm-agent", "and this", "--id", "m-2")
    with hivebus.start("receive", *ME, "--follow") as process:
        # It is killed with work in its hands: nothing but the server knows of it now.
        assert "m-1" in process.stdout.readline()
        hivebus.eventually(lambda: len(held(hivebus)) == 2, what="both are taken")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    hivebus.send("pm-agent", "urgent", "--id", "m-3", "--priority", "emergency")
    answer = hivebus.ok("inbox", *ME)
    assert [row[0] for row in answer.rows] == ["m-1", "m-2", "m-3"]
    [message_id, age, sender, kind, _, state, preview] = answer.rows[0]
    assert (message_id, sender, kind, preview) == ("m-1", "sender", "task_assignment", "review the login page")
    assert age.endswith("s")
    assert state.startswith("held ") and state[-1] in "ms"
    assert answer.err.startswith("1 waiting, 2 held\n-- you hold 2 messages, the first for ")
    assert "hivebus ack ID | hivebus retry ID --in 5m | hivebus reject ID WHY | hivebus extend ID" in answer.err
    hivebus.ok("ack", answer.rows[0][0], *ME)
    hivebus.ok("extend", answer.rows[1][0], "--lease", "2h", *ME)
    answer = hivebus.ok("inbox", *ME)
    assert answer.rows[0][5] in ("held 1h", "held 2h")
    assert "-- you hold 1 message, for " in answer.err
    hivebus.ok("ack", answer.rows[0][0], *ME)
    assert hivebus.ok("inbox", *ME).err == "1 waiting, 0 held\n"


def test_what_is_held_is_not_hidden_by_what_waits(hivebus: Any) -> None:
    hivebus.send("pm-agent", "mine", "--id", "mine", "--priority", "low")
    hivebus.ok("receive", *ME)
    for number in range(5):
        hivebus.send("pm-agent", "x", "--id", f"u-{number}", "--priority", "urgent")
    answer = hivebus.ok("inbox", *ME, "--limit", "3")
    assert [row[0] for row in answer.rows] == ["mine", "u-0", "u-1", "u-2"]
    assert answer.err.startswith("3 waiting (5 in all), 1 held\n")
    facts = hivebus.ok("inbox", *ME, "--limit", "3", "--json").json
    assert [each["message_id"] for each in facts["leased"]] == ["mine"]
    assert len(facts["messages"]) == 3


def test_what_is_held_is_found_behind_thousands_that_wait(hivebus: Any, redis_server: Any) -> None:
    hivebus.send("pm-agent", "mine", "--id", "mine", "--priority", "low")
    hivebus.ok("receive", *ME)
    hivebus("receive", *ME, "--pool", "crew", "--wait", "0s")
    hivebus.send("@crew", "ours", "--id", "ours", "--priority", "low")
    hivebus.ok("receive", *ME, "--pool", "crew")
    many = [
        api.Message(from_agent="boss", to_agent=to, body={"content": "x"}, priority="urgent")
        for to in ("pm-agent", "@crew")
        for _ in range(1100)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIVEBUS_NAMESPACE", hivebus.env["HIVEBUS_NAMESPACE"])
        api.send_many(many, url=redis_server.url)
    answer = hivebus.ok("inbox", *ME, "--limit", "2")
    assert {row[0] for row in answer.rows[:2]} == {"mine", "ours"}
    assert hivebus.ok("ack", "min", "our", *ME).rows == [["mine", "acknowledged"], ["ours", "acknowledged"]]


def test_saboteur_looking_no_further_than_the_limit_is_noticed(hivebus: Any) -> None:
    hivebus.send("pm-agent", "mine", "--id", "mine", "--priority", "low")
    hivebus.ok("receive", *ME)
    for number in range(3):
        hivebus.send("pm-agent", "x", "--id", f"u-{number}", "--priority", "urgent")
    sabotage = (
        "from hivebus import offers; offers.PEEKED_AT = 2\n"
        "from hivebus_redis.streams import RedisStreams\nRedisStreams.held = offers.Inspectable.held"
    )
    with hivebus.start("inbox", *ME, "--limit", "2", sabotage=sabotage) as process:
        out, _ = process.communicate(timeout=60)
    assert "mine" not in out


async def test_what_a_running_bus_works_on_is_not_offered_to_be_settled(hivebus: Any, redis_server: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    async with api.Bus(redis_server.url, agent="pm-agent", namespace=hivebus.env["HIVEBUS_NAMESPACE"]) as bus:
        async for delivery in bus.consume():
            answer = hivebus.ok("inbox", *ME)
            assert answer.rows[0][5].startswith("at work ")
            assert answer.err == "0 waiting, 1 held\n"
            await delivery.ack()
            break


def test_a_person_sees_the_work_first(hivebus: Any) -> None:
    hivebus.send("pm-agent", "mine", "--id", "mine")
    hivebus.ok("receive", *ME)
    hivebus.send("pm-agent", "next", "--id", "next", "--priority", "urgent")
    code, shown = hivebus.on_terminal("inbox", *ME)
    lines = shown.decode().replace("\r\n", "\n").splitlines()
    assert code == 0
    assert ["ID" in lines[0], "mine" in lines[1], "held" in lines[1], "next" in lines[2]] == [True] * 4


def held(hivebus: Any) -> list[str]:
    return [each["message_id"] for each in hivebus.ok("inbox", *ME, "--json").json["leased"]]
