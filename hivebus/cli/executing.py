"""Runs a command per message: the message on its stdin, the facts in its environment, nothing in its words."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress

from hivebus.cli.app import App
from hivebus.cli.output import warn
from hivebus.cli.taking import Stop, Taken, Taker
from hivebus.errors import HivebusError
from hivebus.retry import is_exhausted, retry_delay
from hivebus.transport import Ack, DeadLetter, Extend, Retry, Settlement, Start

MAX_CRASHES = 10
NOT_RUNNABLE = (126, 127)
"""What a shell exits with when it cannot run the command."""


class Executor:
    """Acks a message when its command exits with 0, and retries it otherwise.

    Args:
        command: for the shell; no part of any message becomes a word of it.
        lease: seconds; it is renewed three times as often while the command runs.
    """

    def __init__(self, app: App, taker: Taker, command: str, *, lease: float, stop: Stop) -> None:
        self._app = app
        self._taker = taker
        self._command = command
        self._lease = lease
        self._stop = stop

    async def handle(self, taken: Taken) -> bool:
        """Run the command for one message and settle it; tell whether it was acked."""
        delivery, message = taken.delivery, taken.message
        if delivery.crashes >= MAX_CRASHES:
            await self._taker.settle([DeadLetter(delivery.token, "crash_loop")])
            warn(f"{message.message_id} is a dead letter: crash_loop")
            return False
        if not message.delivery_options.require_ack:
            return await self._handle_unacknowledged(taken)
        # The server knows that it runs before it does: if this process dies now, the message is suspect.
        if (await self._taker.settle([Start(delivery.token)]))[0] != "done":
            return False
        status = await self._run(taken)
        if status is None:
            warn(f"{message.message_id}: the lease was lost, somebody else has it now")
            return False
        settlement = self._verdict(taken, status)
        [outcome] = await self._taker.settle([settlement])
        if outcome != "done":
            warn(f"{message.message_id}: not settled ({outcome}), somebody else decides")
        if status in NOT_RUNNABLE:
            raise HivebusError(
                f"the command cannot be run: the shell says {status}",
                cause="the program is not there, or not executable",
                hint="the message is back in the inbox; try the command by hand",
            )
        return outcome == "done" and isinstance(settlement, Ack)

    async def _handle_unacknowledged(self, taken: Taken) -> bool:
        """Settle it first, because its sender wanted no ack; what the command then says changes nothing."""
        await self._taker.settle([Ack(taken.delivery.token)])
        status = await self._run(taken, held=False)
        if status:
            warn(f"{taken.message.message_id}: the command exited with {status}; it wanted no ack, so not again")
        return status == 0

    async def _run(self, taken: Taken, *, held: bool = True) -> int | None:
        """Return the exit code, or None when the lease on what is *held* was lost meanwhile."""
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            self._command,
            stdin=asyncio.subprocess.PIPE,
            env=self._environment(taken),
            # Of its own, so that a Ctrl-C lets it finish, and a second one ends all that it started.
            process_group=0,
        )
        fed = asyncio.create_task(process.communicate(taken.message.to_json()))
        interrupted = asyncio.create_task(self._stop.again.wait())
        lost = False
        try:
            while not (fed.done() or interrupted.done() or lost):
                await asyncio.wait({fed, interrupted}, timeout=self._lease / 3, return_when=asyncio.FIRST_COMPLETED)
                lost = held and not fed.done() and not await self._still_ours(taken)
        finally:
            interrupted.cancel()
            if not fed.done():
                _end(process)
            await fed
        return None if lost else process.returncode

    async def _still_ours(self, taken: Taken) -> bool:
        try:
            return (await self._taker.settle([Extend(taken.delivery.token)]))[0] == "done"
        except HivebusError:
            # The server is away: nobody else can have taken it there, and the next beat asks again.
            return True

    def _verdict(self, taken: Taken, status: int) -> Settlement:
        token, message_id = taken.delivery.token, taken.message.message_id
        options = taken.message.delivery_options
        if status == 0:
            self._app.note(f"{message_id} acked")
            return Ack(token)
        if self._stop.again.is_set() or status in NOT_RUNNABLE:
            # Interrupted with us, or never run: that says nothing against the message.
            self._app.note(f"{message_id} handed back")
            return Retry(token, 0, counts=False)
        failures = taken.delivery.failures + 1
        if is_exhausted(failures=failures, max_retries=options.max_retries):
            warn(f"{message_id} is a dead letter: the command failed {failures} times, at last with {status}")
            return DeadLetter(token, f"max_retries: the command exited with {status}")
        delay = retry_delay(failures=failures, base=options.retry_delay)
        warn(f"{message_id}: the command exited with {status}, again in {delay:.0f} s")
        return Retry(token, delay)

    def _environment(self, taken: Taken) -> Mapping[str, str]:
        message, settings = taken.message, self._app.settings
        to = message.to_agent if isinstance(message.to_agent, str) else ",".join(message.to_agent)
        facts = {
            "HIVEBUS_MESSAGE_ID": message.message_id,
            "HIVEBUS_FROM": message.from_agent,
            "HIVEBUS_TO": to,
            "HIVEBUS_TYPE": message.message_type,
            "HIVEBUS_PRIORITY": message.priority.value,
            "HIVEBUS_ATTEMPT": str(taken.delivery.attempt),
            "HIVEBUS_CORRELATION_ID": message.correlation_id or "",
            "HIVEBUS_REPLY_TO": message.reply_to or message.from_agent,
            # So that `hivebus` in the command is the same agent on the same bus.
            "HIVEBUS_AGENT": self._app.agent,
            "HIVEBUS_NAMESPACE": settings.namespace,
        }
        if settings.has_url:
            facts["HIVEBUS_URL"] = settings.url
        return {**os.environ, **facts}


def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
