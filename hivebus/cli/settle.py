"""`hivebus ack`, `retry`, `reject` and `extend`: settle what an earlier `hivebus receive` of the agent took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.link import LOOK, Link, connect, run
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, duration, table, warn
from hivebus.cli.pooling import find_held
from hivebus.cli.taking import is_mine, is_ours
from hivebus.errors import InvalidMessage, NotFound, NotPermitted
from hivebus.retry import retry_delay
from hivebus.setting_rules import MAX_LEASE
from hivebus.transport import (
    Ack,
    DeadLetter,
    Extend,
    Inbox,
    Located,
    Retry,
    Settled,
    Settlement,
)

KEPT_LEASE = 1800.0
LONGEST_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """What a command does to each message.

    Attributes:
        name: of the command; done: what it has done then.
        settlement: makes it, from where the message is and the token that settles it.
        lease: seconds to renew the lease by; None leaves it as it is.
        repeats: whether a message that was acknowledged before is as good.
    """

    name: str
    done: str
    settlement: Callable[[Link, Located, str], Settlement]
    lease: float | None = None
    repeats: bool = False


@command("extend", examples=["hivebus extend 1f0c", "hivebus extend 1f0c 77ab --lease 2h --agent pm-agent"])
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--lease", type=duration_type(lowest=1), default=KEPT_LEASE, help="How long from now.  [default: 30m]")
def extend(app: App, *, ids: Sequence[str], lease: float) -> ExitCode:
    """Keep a message that you hold for longer.

    The lease belongs to all that one hivebus receive took: they are extended together, and never shortened.
    """
    if lease > MAX_LEASE:
        raise click.UsageError("--lease may be 7 days at most")
    verb = Verb(
        name="extend",
        done=f"yours for {duration(lease)}",
        settlement=lambda link, place, token: Extend(token),
        lease=lease,
    )
    return run(_settle(app, ids, verb))


@command("ack", examples=["hivebus ack 1f0c", "hivebus ack 1f0c 77ab --agent pm-agent"])
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def ack(app: App, *, ids: Sequence[str]) -> ExitCode:
    """Say that messages are done.

    They are never handed out again. An ID may be the beginning of one. Saying it twice is harmless.
    """
    verb = Verb(name="ack", done="acknowledged", settlement=lambda link, place, token: Ack(token), repeats=True)
    return run(_settle(app, ids, verb))


@command("retry", examples=["hivebus retry 1f0c --in 5m", "hivebus retry 1f0c --agent pm-agent"])
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--in", "delay", type=duration_type(lowest=0), help="How much later.  [default: as the message asks for]")
def retry(app: App, *, ids: Sequence[str], delay: float | None) -> ExitCode:
    """Put a message back, to be handed out again later.

    It keeps its priority and counts as a failed attempt. To give it up instead: hivebus reject.
    """
    verb = Verb(
        name="retry",
        done="handed out again" if delay is None else f"handed out again in {duration(delay)}",
        settlement=lambda link, place, token: Retry(token, _delay(link, place) if delay is None else delay),
    )
    return run(_settle(app, ids, verb))


@command("reject", examples=['hivebus reject 1f0c "unknown repository"', "hivebus reject 1f0c --agent pm-agent"])
@click.argument("message_id", metavar="ID")
@click.argument("reason", default="rejected")
def reject(app: App, *, message_id: str, reason: str) -> ExitCode:
    """Give a message up: it becomes a dead letter.

    REASON stands beside it, for hivebus dlq. It is not handed out again.
    """
    reason = " ".join(reason.split())[:LONGEST_REASON] or "rejected"
    verb = Verb(
        name="reject",
        done=f"a dead letter: {reason}",
        settlement=lambda link, place, token: DeadLetter(token, reason),
    )
    return run(_settle(app, [message_id], verb))


async def _settle(app: App, ids: Sequence[str], verb: Verb) -> ExitCode:
    agent = app.agent
    async with connect(app) as link:
        places = {place.message_id: place for place in await find_held(link, ids, agent)}
        for place in places.values():
            check_holder(place, verb, agent)
        outcomes = {place.message_id: await settle_one(link, place, verb) for place in places.values()}
    if app.as_json:
        settled = [{"message_id": each, "outcome": outcome} for each, outcome in outcomes.items()]
        document(verb.name, {"settled": settled})
    else:
        table(("ID", "OUTCOME"), [(each, verb.done) for each, outcome in outcomes.items() if outcome == "done"])
    late = [each for each, outcome in outcomes.items() if outcome != "done"]
    for each in late:
        warn(f"{each}: the lease ran out meanwhile, somebody else decides ({outcomes[each]})")
    return ExitCode.CHECK_FAILED if late else ExitCode.OK


async def settle_one(link: Link, place: Located, verb: Verb) -> Settled:
    """Settle a message in the name of the consumer that holds it."""
    if place.state == "acknowledged":
        return "done"
    assert place.consumer is not None and place.token is not None
    # Under the same name: its registration goes on, and with it the lease that the message is held by.
    lease = verb.lease or max(1.0, place.lease_seconds or 0)
    transport = link.receiving()
    reader = await transport.open(Inbox(place.inbox), consumer=place.consumer, lease=lease)
    [outcome] = await reader.settle([verb.settlement(link, place, place.token)])
    if await _holds_nothing(link, place):
        # A reader that holds nothing hands nothing back: closing it takes the name off the list of consumers.
        await reader.close()
    return outcome


async def _holds_nothing(link: Link, place: Located) -> bool:
    inspectable = link.inspectable(to="find messages")
    seen = await inspectable.peek(place.inbox, limit=LOOK)
    return len(seen) < LOOK and all(each.consumer != place.consumer for each in seen)


def check_holder(place: Located, verb: Verb, agent: str) -> None:
    """Raise `NotFound` or `NotPermitted` unless the command line holds the message, so that it may settle it."""
    if place.state == "acknowledged" and verb.repeats:
        return
    if place.state != "delivered":
        raise NotFound(
            f"{place.message_id} is {place.state}: nobody holds it, so there is nothing to {verb.name}",
            cause=_WHY.get(place.state, "it was never handed out"),
            hint=_NEXT.get(place.state, f"hivebus trace {place.message_id}"),
        )
    if not is_ours(place.consumer) or not is_mine(place.consumer, agent):
        raise NotPermitted(
            f"{place.message_id} is being worked on by {place.consumer}, which settles it",
            cause="only what `hivebus receive` took for you can be settled from the command line",
            hint=f"hivebus trace {place.message_id}",
        )


def _delay(link: Link, place: Located) -> float:
    message = link.message(place.data)
    if isinstance(message, InvalidMessage):
        return 0.0
    # The failures are counted by the server; how often it was handed out is the nearest that is known here.
    return retry_delay(failures=max(1, place.attempts), base=message.delivery_options.retry_delay)


_WHY = {
    "queued": "its lease ran out, or it was never received",
    "retrying": "it was put back already",
    "acknowledged": "it was settled before",
    "dead_lettered": "it was given up",
}
_NEXT = {"queued": "hivebus receive", "dead_lettered": "hivebus dlq list"}
