"""`hivebus receive`: takes messages and shows them, or runs a command for each."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from typing import Any

import click

from hivebus.cli.app import App
from hivebus.cli.executing import Executor
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.filters import Filter, filter_of, filter_options
from hivebus.cli.link import Link, as_json, connect, run
from hivebus.cli.moved import warn_of_a_move
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, duration, json_line, json_text, line, warn
from hivebus.cli.pooling import join_inbox
from hivebus.cli.taking import TAKING_LEASE, Stop, Taken, Taker
from hivebus.errors import Unavailable, Unknown
from hivebus.housekeeping import Housekeeper, Plan
from hivebus.pools import POLICIES, check_pool
from hivebus.setting_rules import MAX_LEASE
from hivebus.transport import Ack, Inbox, PoolPolicy

KEPT_LEASE = 1800.0
LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    limit: int
    wait: float | None
    lease: float | None
    wanted: Filter
    ack: bool
    follow: bool
    execute: str | None
    lines: bool
    pool: str | None
    policy: PoolPolicy | None


@command(
    "receive",
    namespace=("--namespace",),
    examples=[
        "hivebus receive --agent pm-agent --wait 30s",
        "hivebus receive --agent pm-agent --follow --exec 'jq -r .body.content >> tasks.txt'",
    ],
)
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=1, show_default=True, help="Take at most that many.")
@click.option(
    "--wait", type=duration_type(lowest=0), help="Wait that long for the first one.  [default: 0, or forever]"
)
@click.option(
    "--lease", type=duration_type(lowest=1), help="How long they are yours.  [default: 30m; with --exec 15s, renewed]"
)
@filter_options
@click.option("--ack", is_flag=True, help="Settle them at once, after showing them.")
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C or SIGTERM.")
@click.option("--exec", "execute", metavar="CMD", help="Run CMD for each: ack on exit 0, retry otherwise.")
@click.option("--pool", metavar="POOL", help="Out of the inbox of this pool, which you share with its members.")
@click.option("--pool-policy", "policy", type=click.Choice(POLICIES), help="How the pool is shared from now on.")
@click.option("--jsonl", "lines", is_flag=True, help="One JSON object a line.")
def receive(
    app: App,
    *,
    limit: int,
    wait: float | None,
    lease: float | None,
    types: tuple[str, ...],
    senders: tuple[str, ...],
    priorities: tuple[str, ...],
    ack: bool,
    follow: bool,
    execute: str | None,
    pool: str | None,
    policy: PoolPolicy | None,
    lines: bool,
) -> ExitCode:
    """Take messages out of your inbox, under a lease.

    What is shown is yours for the time of the lease, also when this command has ended: settle it with
    hivebus ack, retry, reject or extend. What you do not settle comes back to the inbox, without blame.
    Nothing came: exit code 75.

    --type, --from and --priority look through the first 1000 waiting messages, and take nothing while none of them
    fits. What stands in front of one that does is taken with it and handed back at once: nothing is lost
    or held up, but its attempt count is one higher, and some transports queue it again behind others.

    With --pool you are a member of it for as long as you read: each message goes to one member, and your own
    inbox is not read. A pool that does not exist is made. round_robin gives each member as many messages,
    least_loaded the next one to whoever has the fewest in hand.

    CMD gets the message as JSON on stdin and HIVEBUS_MESSAGE_ID, HIVEBUS_FROM, HIVEBUS_TO, HIVEBUS_TYPE,
    HIVEBUS_PRIORITY, HIVEBUS_ATTEMPT, HIVEBUS_CORRELATION_ID and HIVEBUS_REPLY_TO in its environment. The
    shell never reads any part of a message. A failing message is retried as it asks to be, and becomes a
    dead letter when it has used up its retries.
    """
    if follow and app.as_json:
        raise click.UsageError("--follow has no end, so it cannot be one document: use --jsonl")
    if execute and (ack or lines or app.as_json):
        raise click.UsageError("--exec settles by itself and shows nothing: leave out --ack, --jsonl and --json")
    if lease is not None and lease > MAX_LEASE:
        raise click.UsageError("--lease may be 7 days at most")
    if policy and not pool:
        raise click.UsageError("--pool-policy says how a pool is shared: name it with --pool")
    wanted = filter_of(app, types=types, senders=senders, priorities=priorities)
    wait = (None if follow else 0.0) if wait is None else wait
    wish = Wish(
        limit=limit,
        wait=wait,
        lease=lease,
        wanted=wanted,
        ack=ack,
        follow=follow,
        execute=execute,
        lines=lines,
        pool=None if pool is None else check_pool(pool, field="--pool"),
        policy=policy,
    )
    return run(_receive(app, wish))


async def _receive(app: App, wish: Wish) -> ExitCode:
    agent = app.agent
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set, number)
    async with connect(app) as link:
        inbox = Inbox(agent) if wish.pool is None else await join_inbox(app, link, wish.pool, policy=wish.policy)
        receiver = _Receiver(app, link, inbox, wish, stop)
        keeper = _housekeeper(app, link, inbox.name)
        if wish.follow:
            keeper.start()
            await warn_of_a_move(link, inbox.name)
        try:
            await (receiver.follow() if wish.follow else receiver.once())
            if not wish.follow and not receiver.has_any:
                await warn_of_a_move(link, inbox.name)
        finally:
            await receiver.close()
            await keeper.close()
    return receiver.exit_code()


def _housekeeper(app: App, link: Link, inbox: str) -> Housekeeper:
    plan = Plan(keep=app.settings.retention, max_bytes=app.settings.retention_bytes)
    return Housekeeper(link.transport, inbox, plan=plan)


class _Receiver:
    def __init__(self, app: App, link: Link, inbox: Inbox, wish: Wish, stop: Stop) -> None:
        self._lease = wish.lease or KEPT_LEASE
        taking = min(TAKING_LEASE, self._lease) if not wish.execute else wish.lease or app.settings.lease
        self._app = app
        self._wish = wish
        self._stop = stop
        self._taker = Taker(app, link, app.agent, inbox=inbox, wanted=wish.wanted, lease=taking, stop=stop)
        self._executor = Executor(app, self._taker, wish.execute or "", lease=taking, stop=stop)
        self._came = 0
        self._failed = 0

    async def once(self) -> None:
        """Take one batch, or run the command for as many messages as were asked for."""
        if not self._wish.execute:
            await self._show(await self._taker.take(limit=self._wish.limit, wait=self._wish.wait))
            return
        while self._came < self._wish.limit and not self._stop:
            wait = 0.0 if self._came else self._wish.wait
            if not await self._execute(wait):
                break

    async def follow(self) -> None:
        """Go on until it is time to stop, or nothing came for as long as was asked; survives a server restart."""
        silent = False
        while not self._stop:
            try:
                if not await self._one_more():
                    break
                silent = False
            except (Unavailable, Unknown) as error:
                if not silent:
                    warn(f"{error.what}: trying again until it answers")
                silent = True
                await self._stop.pause(LOOK_AGAIN_SECONDS)

    async def close(self) -> None:
        """Hand back what was neither shown nor handled."""
        await self._taker.close()

    @property
    def has_any(self) -> bool:
        """Whether anything came."""
        return self._came > 0

    def exit_code(self) -> ExitCode:
        """Return what became of it."""
        if self._stop.number == signal.SIGINT and not self._wish.follow:
            return ExitCode.INTERRUPTED
        if self._failed and not self._wish.follow:
            return ExitCode.CHECK_FAILED
        if not self._came and not (self._stop and self._wish.follow):
            return ExitCode.TRY_LATER
        return ExitCode.OK

    async def _one_more(self) -> bool:
        if self._wish.execute:
            return await self._execute(self._wish.wait)
        taken = await self._taker.take(limit=self._wish.limit, wait=self._wish.wait)
        await self._show(taken)
        return bool(taken)

    async def _execute(self, wait: float | None) -> bool:
        taken = await self._taker.take(limit=1, wait=wait)
        for each in taken:
            self._came += 1
            self._failed += not await self._executor.handle(each)
        return bool(taken)

    async def _show(self, taken: list[Taken]) -> None:
        if not taken:
            return
        settled = [each for each in taken if self._is_settled(each)]
        if len(settled) < len(taken):
            # Before it is shown: whoever reads slowly must not lose what is on the screen.
            await self._taker.keep(self._lease)
        self._print(taken)
        sys.stdout.flush()
        self._came += len(taken)
        if settled:
            await self._taker.settle([Ack(each.delivery.token) for each in settled])
        if len(settled) < len(taken):
            self._taker.retire()

    def _is_settled(self, taken: Taken) -> bool:
        """Tell whether it is settled with its hand-over: by --ack, or because its sender wanted no ack."""
        return self._wish.ack or not taken.message.delivery_options.require_ack

    def _print(self, taken: list[Taken]) -> None:
        leases = [0 if self._is_settled(each) else self._lease for each in taken]
        if self._app.as_json:
            document(
                "receive", {"deliveries": [_facts(each, lease) for each, lease in zip(taken, leases, strict=True)]}
            )
        elif self._wish.lines:
            for each, lease in zip(taken, leases, strict=True):
                json_line(_facts(each, lease))
        else:
            for each, lease in zip(taken, leases, strict=True):
                _print_text(each, lease)
            if any(leases):
                self._app.note("-- settle: hivebus ack ID | hivebus retry ID --in 5m | hivebus reject ID WHY")


def _facts(taken: Taken, lease: float) -> dict[str, Any]:
    return {"message": as_json(taken.message), "attempt": taken.delivery.attempt, "lease_seconds": lease}


def _print_text(taken: Taken, lease: float) -> None:
    message = taken.message
    held = f"  lease {duration(lease)}" if lease else ""
    head = f"{message.message_id}  from {message.from_agent}  {message.message_type}  {message.priority.value}"
    line(f"-- {head}  attempt {taken.delivery.attempt}{held}")
    line(message.content if isinstance(message.content, str) else json_text(message.content))
