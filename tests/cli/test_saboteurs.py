"""Each protection of the command line is removed once, and the check for it turns red."""

from __future__ import annotations

from typing import Any

import hivebus as api

ME = ("--agent", "pm-agent")


def leased(hivebus: Any) -> dict[str, Any]:
    return {held["message_id"]: held for held in hivebus.ok("inbox", *ME, "--json").json["leased"]}


def test_saboteur_taking_under_the_long_lease_is_noticed(hivebus: Any) -> None:
    sabotage = "import hivebus.cli.receive as it; it.TAKING_LEASE = 1800.0"
    hivebus.ok("send", "pm-agent", "-", "--agent", "sender", "--id", "m-1", stdin=b"x" * 200_000)
    with hivebus.start("receive", *ME, "--follow", "--ack", sabotage=sabotage) as process:
        hivebus.eventually(lambda: "m-1" in leased(hivebus), what="it is taken, and the pipe is full")
        assert leased(hivebus)["m-1"]["lease_seconds"] > 10
        process.kill()
        process.communicate(timeout=60)


def test_saboteur_keeping_what_stood_in_the_way_is_noticed(hivebus: Any) -> None:
    sabotage = "import hivebus.cli.taking as it\nasync def keep(self, passed): pass\nit.Taker._hand_back = keep"
    hivebus.send("pm-agent", "x", "--id", "in-the-way")
    hivebus.send("pm-agent", "x", "--id", "wanted", "--type", "question")
    with hivebus.start("receive", *ME, "--type", "question", sabotage=sabotage) as process:
        process.communicate(timeout=60)
    assert hivebus("receive", *ME).code == 75
    assert set(leased(hivebus)) == {"in-the-way", "wanted"}


def test_saboteur_losing_the_lease_at_the_end_is_noticed(hivebus: Any) -> None:
    sabotage = "import hivebus.cli.taking as it\nit.Taker.retire = lambda self: None"
    hivebus.send("pm-agent", "x", "--id", "m-1")
    with hivebus.start("receive", *ME, sabotage=sabotage) as process:
        process.communicate(timeout=60)
    assert leased(hivebus) == {}


async def test_saboteur_settling_for_a_running_consumer_is_noticed(hivebus: Any, redis_server: Any) -> None:
    sabotage = "import hivebus.cli.settle as it; it.is_ours = lambda consumer: True"
    hivebus.send("pm-agent", "x", "--id", "m-1")
    async with api.Bus(redis_server.url, agent="pm-agent", namespace=hivebus.env["HIVEBUS_NAMESPACE"]) as bus:
        async for delivery in bus.consume():
            with hivebus.start("ack", "m-1", *ME, sabotage=sabotage) as process:
                process.communicate(timeout=60)
            assert process.returncode == 0
            await delivery.ack()
            break


def test_saboteur_a_command_whose_lease_is_not_renewed_is_noticed(hivebus: Any) -> None:
    sabotage = (
        "import hivebus.cli.executing as it\nasync def idle(self, taken): return True\nit.Executor._still_ours = idle"
    )
    hivebus.send("pm-agent", "x", "--id", "m-1")
    with hivebus.start("receive", *ME, "--lease", "1s", "--exec", "sleep 4", sabotage=sabotage) as process:
        hivebus.eventually(lambda: "m-1" in leased(hivebus), what="the command runs")
        assert hivebus("receive", *ME, "--wait", "3s").code == 0
        process.communicate(timeout=60)
    assert process.returncode == 1


def test_saboteur_sending_a_misspelt_option_as_text_is_noticed(hivebus: Any) -> None:
    sabotage = (
        "import hivebus.cli.send as it\n"
        "it.send.ignore_unknown_options = True\n"
        "it.send.context_settings = {'ignore_unknown_options': True}"
    )
    with hivebus.start("send", "pm-agent", "--jsn", "--agent", "sender", sabotage=sabotage) as process:
        process.communicate(timeout=60)
    [message] = hivebus.ok("inbox", *ME, "--json").json["messages"]
    assert message["body"]["content"] == "--jsn"
