"""One message from a process that lives for it: no event loop, no model, no client library.

It is sent before anything is asked. The answer tells whether there are subscriptions at all; only then is read who
gets a copy, and what is missing is sent under the same id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from hivebus import envelope as envelopes
from hivebus import settings
from hivebus.errors import HivebusError, Refused, Unknown, is_passing
from hivebus.receipt import Receipt, notes_on
from hivebus.routing import Routes, Way, names_of, needs, route
from hivebus.transport import ROUTES, OneShot, Outgoing, Published

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
Result = Published | HivebusError


def send_once(
    sender: OneShot, envelope: envelopes.Envelope, *, delay: float, chosen: settings.Settings, within: float
) -> Receipt | None:
    """Send one message; None when that takes a bus, which may send it again under its id.

    Args:
        within: seconds for which it is sent again while the outcome is not known.

    Raises:
        NotFound: there is no such pool. Refused: nothing was written. Unknown: safe to send again.
    """
    heading = envelope.heading
    deadline = time.monotonic() + within
    pools = _read(sender, "pools", deadline=deadline) if needs(heading.to_agent) == "pools" else {}
    if needs(heading.to_agent) == "agents" or pools is None:
        return None
    data = envelopes.encode(envelope, limit=chosen.max_message)
    routes = Routes()
    way = routes.way(heading, names_of(heading.to_agent, pools=list(pools)))
    answers: dict[str, Result] = {}
    while missing := [inbox for inbox in way.inboxes if inbox not in answers]:
        items = route(heading, missing, message_id=envelope.message_id, ttl=envelope.terms.ttl, delay=delay, data=data)
        answers |= zip(missing, _publish(sender, items, deadline=deadline), strict=True)
        told = max((each.routes or 0 for each in answers.values() if isinstance(each, Published)), default=0)
        if told == routes.version:
            break
        facts = _read(sender, ROUTES, deadline=deadline)
        if facts is None:
            return None
        routes = Routes(facts, version=told)
        way = routes.way(heading, way.names)
        if not set(way.inboxes[: way.addressed]) <= set(way.names):
            # It takes a bus to take it back from where it is. That sends it to its new place, so that it is new there.
            return None
    if delay == 0 and any(_is_rerouted(inbox, answers[inbox], routes) for inbox in way.inboxes[: way.addressed]):
        return None
    return _receipt(sender, envelope, way, answers, leg=settings.leg_of(chosen.url))


def _publish(sender: OneShot, items: Sequence[Outgoing], *, deadline: float) -> Sequence[Result]:
    """Return one result per item; sent again while that may help. The id makes it safe."""
    pause = FIRST_PAUSE
    while True:
        sender.patience = max(FIRST_PAUSE, deadline - time.monotonic())
        results: Sequence[Result]
        try:
            results = sender.publish_once(items)
        except Unknown as error:
            results = [error] * len(items)
        passing = any(isinstance(each, HivebusError) and is_passing(each) for each in results)
        if not passing or time.monotonic() + pause > deadline:
            return results
        pause = _wait(pause)


def _read(sender: OneShot, kind: str, *, deadline: float) -> Mapping[str, Mapping[str, object]] | None:
    pause = FIRST_PAUSE
    while True:
        sender.patience = max(FIRST_PAUSE, deadline - time.monotonic())
        try:
            return sender.read(kind)
        except HivebusError as error:
            if not is_passing(error) or time.monotonic() + pause > deadline:
                raise Unknown(
                    "it cannot be read whom the message goes to",
                    cause=str(error),
                    hint="send again with the same message_id: what is stored already is stored once",
                ) from error
        pause = _wait(pause)


def _is_rerouted(inbox: str, answer: Result, routes: Routes) -> bool:
    fallback = routes.fallbacks.get(inbox)
    return fallback is not None and isinstance(answer, Published) and fallback.is_due(answer)


def _wait(pause: float) -> float:
    # Imported here: it is slow, and most messages leave at once.
    import random

    time.sleep(random.uniform(0, pause))
    return min(LONGEST_PAUSE, pause * 2)


def _receipt(
    sender: OneShot, envelope: envelopes.Envelope, way: Way, answers: Mapping[str, Result], *, leg: str
) -> Receipt:
    remarks: list[str] = []
    published: Published | None = None
    for place, inbox in enumerate(way.inboxes):
        answer = answers[inbox]
        is_copy = place >= way.addressed
        if isinstance(answer, Published):
            if way.addressed > 1 and not is_copy:
                remarks += notes_on(inbox, answer)
            if not is_copy and (published is None or answer.state == "duplicate"):
                published = answer
        elif is_copy and isinstance(answer, Refused):
            remarks.append(f"{inbox} subscribed to this and got no copy: {answer.what}")
        else:
            raise answer
    assert published is not None
    level = published.durability or sender.durability
    if way.addressed == 1:
        return Receipt(envelope, published, leg=leg, durability=level, remarks=remarks)
    # What is known of readers is told inbox by inbox.
    return Receipt(envelope, published._replace(readers=None), leg=leg, durability=level, remarks=remarks)
