"""What is written down about a message: facts from what a transport was given and what it answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hivebus.address import behind_shadow
from hivebus.errors import HivebusError, Unknown
from hivebus.transport import Outgoing, Published
from hivebus_migration.facts import DUPLICATE, Attempt, Outcome


class Known(NamedTuple):
    """What an encoded message says about itself; nothing where it cannot be read."""

    message_id: str = ""
    sender: str = ""
    message_type: str = ""


def read_known(data: bytes) -> Known:
    """Return what the message says about itself, in either of its shapes; a codec may have hidden it."""
    try:
        facts = json.loads(data)
    except ValueError:
        return Known()
    if not isinstance(facts, Mapping):
        return Known()
    return Known(
        _text(facts, "message_id", "id"), _text(facts, "from_agent", "from"), _text(facts, "message_type", "type")
    )


def attempts(
    batch: Sequence[Outgoing],
    results: Sequence[Published | HivebusError],
    *,
    leg: str,
    driver: str,
    seconds: float,
) -> list[Attempt]:
    """Return one attempt per item of a batch that a leg answered for."""
    return [
        attempt(item, result, leg=leg, driver=driver, seconds=seconds)
        for item, result in zip(batch, results, strict=True)
    ]


def attempt(
    item: Outgoing,
    result: Published | BaseException,
    *,
    leg: str,
    driver: str,
    seconds: float,
    reason: str | None = None,
) -> Attempt:
    """Return what one leg did with one item; *reason* is a better word than the error has."""
    agent = behind_shadow(item.inbox)[0]
    if isinstance(result, Published):
        before = DUPLICATE if result.state == "duplicate" else None
        return Attempt(item.message_id, agent, leg, driver, "accepted", before, seconds)
    return Attempt(item.message_id, agent, leg, driver, _outcome(result), reason or reason_of(result), seconds)


def reason_of(error: BaseException) -> str:
    """Return one word for what went wrong: what the transport says, or the name of the error."""
    given = getattr(error, "reason", None)
    return given if isinstance(given, str) and given else _snake(type(error).__name__)


def _outcome(error: BaseException) -> Outcome:
    # An error that is none of ours comes from a broken transport: nobody knows how far it had got.
    return "refused" if isinstance(error, HivebusError) and not isinstance(error, Unknown) else "unknown"


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _text(facts: Mapping[str, object], *names: str) -> str:
    return next((value for name in names if isinstance(value := facts.get(name), str)), "")
