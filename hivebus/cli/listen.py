"""`hivebus listen`: shows what is said to whoever listens; there is nothing to settle."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.link import Link, as_json, connect, run
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import json_line, json_text, line, warn
from hivebus.cli.taking import Stop
from hivebus.errors import InvalidMessage, Unavailable, Unknown
from hivebus.listening import AT_ONCE, WAIT, tuned_in
from hivebus.patterns import Patterns, check_pattern, is_name
from hivebus.settings import masked
from hivebus.transport import Listener

LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    patterns: Patterns
    lines: bool
    count: int | None
    wait: float | None


@command(
    "listen",
    examples=[
        "hivebus listen 'agent.pm-agent.#'",
        "hivebus listen 'agent.*.system_alert' --jsonl --count 1 --wait 10m | jq -r .message.body.content",
    ],
)
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--jsonl", "lines", is_flag=True, help="One JSON object a line.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after that many.  [default: never]")
@click.option(
    "--wait", type=duration_type(lowest=0), help="End when nothing came for that long.  [default: wait forever]"
)
def listen(app: App, *, patterns: tuple[str, ...], lines: bool, count: int | None, wait: float | None) -> ExitCode:
    """Show what is said to whoever listens, and is not kept.

    A PATTERN is agent.NAME.TYPE: * stands for one part, and # at the end for all the rest. Quote it, or your
    shell may replace it by names of files. A message that matches several is shown once.

    What is heard are notifications: what bus.notify says, and what is sent to redis+pubsub://. They go into no
    inbox, nothing is taken from one, and there is nothing to settle. What was said before this command listens,
    or while its connection is lost, it does not hear.

    It ends by Ctrl-C, SIGTERM, --count or --wait. Nothing came within --wait: exit code 75.
    """
    if app.as_json:
        raise click.UsageError("what is heard has no end, so it cannot be one document: use --jsonl")
    return run(_listen(app, Wish(patterns=_patterns(patterns), lines=lines, count=count, wait=wait)))


def _patterns(given: Sequence[str]) -> Patterns:
    for text in given:
        try:
            check_pattern(text)
        except InvalidMessage as error:
            wrong = click.UsageError(f"{error.value} is no pattern: it {error.rule}")
            if is_name(text):
                wrong.hint = f"for all that is said to {text}: 'agent.{text}.#'"  # type: ignore[attr-defined]
            raise wrong from None
    return Patterns(given)


async def _listen(app: App, wish: Wish) -> ExitCode:
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set, number)
    where = masked(app.settings.url)
    async with connect(app) as link, tuned_in(link.transport, link.capabilities, where=where) as (listener, _):
        hearing = _Hearing(app, link, listener, wish, stop)
        await hearing.begin(where)
        await hearing.go_on()
    return hearing.exit_code()


class _Hearing:
    def __init__(self, app: App, link: Link, listener: Listener, wish: Wish, stop: Stop) -> None:
        self._app = app
        self._link = link
        self._listener = listener
        self._wish = wish
        self._stop = stop
        self._shown = 0

    async def begin(self, where: str) -> None:
        """Listen from now on, and say so: whoever reads that may speak."""
        came = await self._hear(0)
        self._app.note(f"listening to {' '.join(self._wish.patterns.texts)} on {where}")
        self._show(came)

    async def go_on(self) -> None:
        """Show what comes until it is enough; survives a server restart."""
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        is_away = False
        while not self._stop and self._left() > 0:
            patience = WAIT if self._wish.wait is None else silent_since + self._wish.wait - loop.time()
            if patience <= 0:
                return
            try:
                came = await self._hear(min(WAIT, patience))
                is_away = False
            except (Unavailable, Unknown) as error:
                if not is_away:
                    warn(f"{error.what}: trying again until it answers")
                is_away, came = True, []
                await self._stop.pause(LOOK_AGAIN_SECONDS)
            if came:
                self._show(came)
                silent_since = loop.time()

    def exit_code(self) -> ExitCode:
        """Return what became of it."""
        if self._stop:
            is_cut_short = self._stop.number == signal.SIGINT and self._wish.count is not None
            return ExitCode.INTERRUPTED if is_cut_short else ExitCode.OK
        return ExitCode.OK if self._shown else ExitCode.TRY_LATER

    async def _hear(self, wait: float) -> Sequence[bytes]:
        limit = min(AT_ONCE, self._left())
        hearing = asyncio.ensure_future(self._listener.listen(self._wish.patterns.texts, limit=limit, wait=wait))
        stopping = asyncio.ensure_future(self._stop.event.wait())
        await asyncio.wait((hearing, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if hearing.done():
            return hearing.result()
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            return await hearing
        return []

    def _left(self) -> int:
        return AT_ONCE if self._wish.count is None else self._wish.count - self._shown

    def _show(self, came: Sequence[bytes]) -> None:
        for data in came:
            message = self._link.message(data)
            if isinstance(message, InvalidMessage):
                self._app.note(f"skipped what is no message: {message.what}")
                continue
            if self._wish.lines:
                json_line({"message": as_json(message)})
            else:
                to = message.to_agent if isinstance(message.to_agent, str) else ",".join(message.to_agent)
                head = f"{message.message_id}  from {message.from_agent}  to {to}  {message.message_type}"
                line(f"-- {head}  {message.priority.value}")
                line(message.content if isinstance(message.content, str) else json_text(message.content))
            self._shown += 1
        sys.stdout.flush()
