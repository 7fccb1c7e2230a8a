"""Old code on two roads: what it sends is compared like everything else."""

from __future__ import annotations

import json

from .commands import Hivebus
from .projects import SCRIPT, compat_ok

AGENT = """
import asyncio, sys
from message_bus import AgentCommunicator, MessageBus


async def main():
    async with MessageBus().lifespan() as bus:
        async with AgentCommunicator("dev", bus).lifespan() as comm:
            sent = await comm.send_message_to_agent("pm-agent", "from a package")
            results = await comm.broadcast_message("to many", agents=["pm-agent"])
            print(bool(sent), {name: bool(each) for name, each in results.items()})


asyncio.run(main())
"""


def test_scripts_and_package_take_both_roads(hivebus: Hivebus) -> None:
    compat_ok("install", hivebus.home)
    assert hivebus("migrate", "start", "pm-agent", "--yes").returncode == 0
    program = hivebus.python(
        f"import runpy, sys; sys.argv = [*{[SCRIPT, 'pm-agent', 'from a script']}]\n"
        f"runpy.run_path({SCRIPT!r}, run_name='__main__')"
    )
    assert program.wait() == 0, program.said
    assert program.printed[-1] == "✅ Message delivered to pm-agent\n"
    program = hivebus.python(AGENT)
    assert program.wait() == 0, program.said
    assert program.printed == ["True {'pm-agent': True}\n"]
    report = json.loads(hivebus.ok("migrate", "report", "--json"))
    assert {name: leg["sent"] + leg["pending"] for name, leg in report["legs"].items()} == {"files": 3, "redis": 3}
