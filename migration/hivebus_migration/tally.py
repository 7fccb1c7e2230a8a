"""Counts verdicts: one row of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from hivebus_migration.bound import loss_upper_bound
from hivebus_migration.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of a set of messages on one leg: ``sent = proven + corrupted + lost + unknown``.

    Attributes:
        sent: messages that are settled; pending: those that are not, and are counted nowhere else
            but as misdelivered.
        claimed: of those sent, how many the transport said that it took.
        unproven_claims: of those claimed, how many are not proven.
        duplicated, misdelivered, reordered: counted besides.
        reasons: why messages are not proven, by how often.
        waits: nanoseconds from intent to first sighting, sorted, of proven messages.
        other_clocks: proven messages that two clocks were involved with; clock_errors: those that
            were seen before they were sent. Neither is among the waits.
    """

    sent: int
    pending: int
    claimed: int
    proven: int
    corrupted: int
    lost: int
    unknown: int
    unproven_claims: int
    duplicated: int
    misdelivered: int
    reordered: int
    reasons: Mapping[str, int]
    waits: Sequence[int]
    other_clocks: int
    clock_errors: int

    @property
    def failed(self) -> int:
        """How many count against the leg: everything that is settled and not proven."""
        return self.sent - self.proven

    @property
    def loss_upper_bound(self) -> float:
        """The true share of failures is below this, with 95 % confidence."""
        return loss_upper_bound(lost=self.failed, of=self.sent)

    def percentile(self, nth: int) -> float | None:
        """Return the wait in milliseconds that *nth* percent did not exceed; None without any."""
        if not self.waits:
            return None
        return self.waits[ceil(len(self.waits) * nth / 100) - 1] / 1e6


def tally(verdicts: Iterable[Verdict]) -> Tally:
    """Return the row for *verdicts*, which are about one leg."""
    verdicts = list(verdicts)
    settled = [each for each in verdicts if each.fate != "pending"]
    proven = [each for each in settled if each.fate == "proven"]
    fates = Counter(each.fate for each in verdicts)
    waits = [each.wait for each in proven if each.wait is not None]
    return Tally(
        sent=len(settled),
        pending=fates["pending"],
        claimed=sum(each.claimed for each in settled),
        proven=len(proven),
        corrupted=fates["corrupted"],
        lost=fates["lost"],
        unknown=fates["unknown"],
        unproven_claims=sum(each.claimed and each.fate != "proven" for each in settled),
        duplicated=sum(each.duplicated for each in proven),
        misdelivered=sum(each.misdelivered for each in verdicts),
        reordered=sum(each.reordered for each in proven),
        reasons=_by_frequency(Counter(each.reason for each in settled if each.reason is not None)),
        waits=sorted(each for each in waits if each >= 0),
        other_clocks=len(proven) - len(waits),
        clock_errors=sum(each < 0 for each in waits),
    )


def _by_frequency(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
