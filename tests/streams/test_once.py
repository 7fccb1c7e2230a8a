"""Handlers that shall do their work once, on a real server and across processes that die."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

from hivebus.transport import Ack, Inbox

from .room import Room

MESSAGES = 20
CRASHES = 5

# The effect is a line in a file. The first time that one of the chosen is handled, the process dies right after it.
WORKER = """
import asyncio, os, signal, sys
from hivebus import Bus

async def main(url, namespace, effects, crashes):
    async with Bus(url, agent="cashier", namespace=namespace, lease=0.5) as bus:
        @bus.on(once=True)
        async def pay(message):
            seen = open(effects).read().split()
            with open(effects, "a") as file:
                file.write(message.message_id + "\\n")
            if message.content < crashes and message.message_id not in seen:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"paid": message.content}
        await bus.run(concurrency=1)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


async def test_a_crash_between_effect_and_ack_leaves_one_outcome_and_one_reply_each(room: Room, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    effects.touch()
    async with room.bus("pm") as bus:
        receipts = [await bus.send("cashier", number, message_type="question") for number in range(MESSAGES)]
        crashed = 0
        worker = await started(room, effects)
        async with asyncio.timeout(60):
            while (await bus.queue("pm")).waiting < MESSAGES:
                if worker.returncode is not None:
                    assert worker.returncode == -signal.SIGKILL
                    crashed += 1
                    worker = await started(room, effects)
                await asyncio.sleep(0.01)
        # Sent again, as by somebody who never got his receipt: known, and not done again.
        again = [await bus.send_message(receipt.message) for receipt in receipts]
        assert {receipt.state for receipt in again} == {"duplicate"}
        worker.terminate()
        await worker.wait()
        replies = [await bus.take() for _ in range(MESSAGES)]
        assert (await bus.queue("pm")).waiting == 0
        outcomes = [(await bus.status(each.message_id)).recipients["cashier"].outcome for each in receipts]
    done = Counter(effects.read_text().split())
    # What dies in between cannot be known to be done: every second run is a recorded crash, and nothing else is.
    assert crashed == CRASHES
    assert sorted(done.values()) == [1] * (MESSAGES - CRASHES) + [2] * CRASHES
    assert sorted(each.content["paid"] for each in replies if each) == list(range(MESSAGES))
    assert outcomes == [b'{"paid":%d}' % number for number in range(MESSAGES)]


async def test_an_outcome_and_its_id_outlive_the_window_of_other_ids(room: Room) -> None:
    async with room.bus("pm") as bus:
        receipt = await bus.send("cashier", "x")
        reader = await room.reader(await room.transport(), inbox="cashier")
        (delivery,) = await reader.receive(limit=1, start=1, wait=5)
        assert await reader.settle([Ack(delivery.token, result=b"7")]) == ["done"]
        seconds = room.redis.pttl(room.key(f"id:{receipt.message_id}", "cashier")) / 1000
        assert 86_000 < seconds <= 86_400
        # The sweep of settled ids does not know of it.
        assert room.redis.exists(room.key("done", "cashier")) == 0


async def test_an_outcome_leaves_nothing_else_behind(room: Room) -> None:
    async with room.bus("pm") as bus:
        await bus.send("cashier", "x")
        transport = await room.transport()
        slow = await transport.open(Inbox("cashier"), consumer="slow", lease=0.1)
        (first,) = await slow.receive(limit=1, start=1, wait=5)
        await asyncio.sleep(0.2)
        other = await room.reader(transport, inbox="cashier")
        (second,) = await other.receive(limit=1, start=1, wait=5)
        assert await slow.settle([Ack(first.token, result=b"1")]) == ["done"]
        assert await other.settle([Ack(second.token, result=b"2")]) == ["gone"]
        await slow.close()
        await other.close()
    left = {
        name
        for name in ("fate", "alone", "fetched", "ready", "suspect", "due")
        if room.redis.exists(room.key(name, "cashier"))
    }
    assert left == set()


async def started(room: Room, effects: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, room.url, room.namespace, str(effects), str(CRASHES)
    )
