"""Counts what the journals of all agents say together; nothing here asks the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from hivebus_migration.bound import loss_upper_bound
from hivebus_tmux.demo import journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of the messages.

    Attributes:
        sent: ids that agents tried to send; claimed: those whose send returned.
        proven: claimed ids that a handler finished; lost: claimed ids that none did.
        duplicated: ids that handlers finished more than once.
        corrupted: handled with another text than was sent; misdelivered: handled by another agent.
        unknown: ids whose send never returned.
        waits: seconds from send to the start of each handler that finished.
    """

    sent: int
    claimed: int
    proven: int
    lost: int
    duplicated: int
    corrupted: int
    misdelivered: int
    unknown: int
    waits: Sequence[float]

    def percentile(self, nth: int) -> float | None:
        """Return a percentile of the waits in milliseconds, or None without any."""
        return quantiles(self.waits, n=100)[nth - 1] * 1000 if len(self.waits) > 1 else None

    @property
    def upper_bound(self) -> float:
        """The true share of losses is below this, with 95 % confidence."""
        return loss_upper_bound(lost=self.lost, of=self.claimed)


def tally(journals: dict[str, Path]) -> Tally:
    """Return the tally of the journals, given by agent."""
    sending: dict[str, tuple[str, str]] = {}
    sent: set[str] = set()
    started: dict[str, tuple[str, str, float]] = {}
    handled: Counter[str] = Counter()
    for agent, path in journals.items():
        for line in journal.read(path):
            message_id, event = line["id"], line["event"]
            if event == journal.SENDING:
                sending[message_id] = (line["hash"], line["to"])
            elif event == journal.SENT:
                sent.add(message_id)
            elif event == journal.STARTED:
                started[message_id] = (line["hash"], agent, line["seconds"])
            elif event == journal.HANDLED:
                handled[message_id] += 1
    finished = [message_id for message_id in handled if message_id in sending]
    return Tally(
        sent=len(sending),
        claimed=len(sent),
        proven=len(sent & handled.keys()),
        lost=len(sent - handled.keys()),
        duplicated=sum(1 for count in handled.values() if count > 1),
        corrupted=sum(1 for each in finished if started[each][0] != sending[each][0]),
        misdelivered=sum(1 for each in finished if started[each][1] != sending[each][1]),
        unknown=len(sending.keys() - sent),
        waits=[started[each][2] for each in finished],
    )


def in_flight(path: Path) -> set[str]:
    """Return the ids that an agent has started and not finished."""
    open_: set[str] = set()
    for line in journal.read(path):
        if line["event"] == journal.STARTED:
            open_.add(line["id"])
        elif line["event"] == journal.HANDLED:
            open_.discard(line["id"])
    return open_
