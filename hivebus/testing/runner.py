"""Runs checks against a transport and judges the outcome by what it declares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable

from hivebus.errors import HivebusError
from hivebus.testing.checks import all_checks
from hivebus.testing.harness import Broken, Harness
from hivebus.testing.promises import Check
from hivebus.testing.report import Outcome, Report, Verdict
from hivebus.transport import Ack, Capabilities, DeadLetters, Endpoint, Inbox, Publisher, Transport

Factory = Callable[[], Publisher | Awaitable[Publisher]]
Make = Callable[[], Awaitable[Publisher]]


async def check(
    subject: Endpoint | Factory,
    *,
    lease: float = 0.4,
    patience: float = 10.0,
    only: Sequence[str] | None = None,
    name_inbox: Callable[[], str] | None = None,
    progress: Callable[[Outcome], None] | None = None,
) -> Report:
    """Run the kit and return its report. It uses inboxes of its own and empties them afterwards.

    Args:
        subject: where to connect, or what makes a transport that is not yet connected.
        lease: seconds of a lease that shall end; longer on a slow server.
        patience: seconds after which what should happen counts as not happening.
        only: names of checks, to run these alone.
        name_inbox: returns the name of an inbox that nobody uses; by default a new one each time.
        progress: told each outcome as soon as there is one.

    Raises:
        HivebusError: nothing could be checked, because the transport cannot be made or connected.
    """
    make = maker(subject)
    capabilities = await _connect(make)
    outcomes: list[Outcome] = []
    used: list[str] = []
    for each in all_checks():
        if only is None or each.name in only:
            outcome = await run_check(each, make, lease=lease, patience=patience, name_inbox=name_inbox, used=used)
            outcomes.append(outcome)
            if progress is not None:
                progress(outcome)
    await _clear(make, used, settled_after=lease * 6)
    name = subject.url if isinstance(subject, Endpoint) else getattr(subject, "__name__", repr(subject))
    return Report(subject=name, capabilities=capabilities, outcomes=outcomes)


async def run_check(
    check: Check,
    make: Make,
    *,
    lease: float = 0.4,
    patience: float = 10.0,
    name_inbox: Callable[[], str] | None = None,
    used: list[str] | None = None,
) -> Outcome:
    """Run one check with transports of its own and return its outcome."""
    harness = Harness(make, lease=lease, patience=patience, name_inbox=name_inbox)
    try:
        await harness.start()
        missing = check.missing(harness.subject)
        if missing:
            return _outcome(check, "skipped", f"not a {' and '.join(missing)}")
        return _judge(check, harness.capabilities, await _broken(check, harness))
    except HivebusError as error:
        return _outcome(check, "failed", f"cannot connect: {error}")
    finally:
        await harness.close()
        if used is not None:
            used += harness.inboxes


def maker(subject: Endpoint | Factory) -> Make:
    """Return a coroutine function that makes transports of *subject*."""
    if not isinstance(subject, Endpoint):
        return partial(_made_by, subject)
    # Imported late: a transport that is made by a factory needs no plugin.
    from hivebus.plugins import Plugins

    return partial(_made_by, partial(Plugins().transport, subject))


async def _made_by(factory: Factory) -> Publisher:
    made = factory()
    return await made if isawaitable(made) else made


async def _connect(make: Make) -> Capabilities:
    transport = await make()
    try:
        return await transport.connect()
    finally:
        await transport.close()


def _judge(check: Check, capabilities: Capabilities, broken: str | None) -> Outcome:
    undeclared = ", ".join(check.undeclared(capabilities))
    if undeclared:
        if broken:
            return _outcome(check, "skipped", f"{undeclared} is not declared; {broken}")
        return _outcome(check, "warned", f"works, but {undeclared} is not declared")
    return _outcome(check, "failed", broken) if broken else _outcome(check, "passed", "")


def _outcome(check: Check, verdict: Verdict, detail: str) -> Outcome:
    return Outcome(name=check.name, verdict=verdict, detail=detail, promise=check.summary, proves=check.proves)


async def _broken(check: Check, harness: Harness) -> str | None:
    """Return why the promise is broken, or None when it is kept."""
    # A check is patient at several places in turn; the whole is a net below them all.
    limit = harness.patience * 6
    try:
        async with asyncio.timeout(limit):
            await check.body(harness)
    except Broken as broken:
        return str(broken)
    except TimeoutError:
        return f"did not end within {limit:g} s"
    except Exception as error:  # noqa: BLE001 - somebody else's transport: whatever it raises is what we came to find
        return f"raised {type(error).__name__}: {error}"
    return None


async def _clear(make: Make, inboxes: Sequence[str], *, settled_after: float) -> None:
    """Settle all that the checks left behind, so that nobody else stumbles over it."""
    transport = await make()
    try:
        await transport.connect()
        if isinstance(transport, Transport):
            # By then the leases and delays of the last checks have ended.
            await asyncio.sleep(settled_after)
            for inbox in inboxes:
                await _empty(transport, inbox)
    finally:
        await transport.close()


async def _empty(transport: Transport, inbox: str) -> None:
    reader = await transport.open(Inbox(inbox), consumer="conformance-cleaner", lease=30)
    while found := await reader.receive(limit=100, start=0, wait=0):
        await reader.settle([Ack(delivery.token) for delivery in found])
    await reader.close()
    if isinstance(transport, DeadLetters):
        dead = await transport.dead(inbox, limit=1000)
        await transport.purge(inbox, [each.message_id for each in dead])
