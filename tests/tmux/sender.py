"""A process of its own that sends to one agent: ``python sender.py URL AGENT NAME COUNT``."""

from __future__ import annotations

import asyncio
import sys

from hivebus import envelope
from hivebus.transport import Endpoint, Outgoing, Published
from hivebus_tmux.transport import open_tmux


async def main(url: str, agent: str, name: str, count: int) -> int:
    transport = open_tmux(Endpoint(url=url))
    await transport.connect()
    failed = 0
    for number in range(count):
        made = envelope.compose(from_agent=name, to_agent=agent, content=f"{number}\nfrom {name}")
        item = Outgoing(agent, made.message_id, "key", 2, 0, None, envelope.encode(made))
        (result,) = await transport.publish([item])
        failed += not isinstance(result, Published)
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:4], int(sys.argv[4]))))
