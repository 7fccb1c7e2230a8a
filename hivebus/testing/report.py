"""What the kit found out about a transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hivebus.transport import Capabilities

Verdict = Literal["passed", "failed", "warned", "skipped"]
"""failed: a promise is broken. warned: it works, and is not declared. skipped: not promised, and not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one check.

    Attributes:
        name: the check, as a sentence with underscores.
        verdict: passed, failed, warned or skipped.
        detail: why; empty when passed.
        promise: what happens to a message when the promise is kept, as a sentence.
        proves: the capabilities that were at stake; empty for what every such transport promises.
    """

    name: str
    verdict: Verdict
    detail: str = ""
    promise: str = ""
    proves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All outcomes, in the order of the kit.

    Attributes:
        subject: the URL, or the name of what makes the transport.
        capabilities: what it declared.
        outcomes: one per check.
    """

    subject: str
    capabilities: Capabilities
    outcomes: Sequence[Outcome]

    @property
    def ok(self) -> bool:
        """Whether something was checked and no promise is broken."""
        return self.count("passed") > 0 and self.count("failed") == 0

    def count(self, verdict: Verdict) -> int:
        """Return how many checks ended so."""
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    def verdict(self, name: str) -> Verdict:
        """Return the verdict of one check."""
        return next(outcome.verdict for outcome in self.outcomes if outcome.name == name)

    def render(self) -> str:
        """Return the report as people read it: a line per check, then the sum."""
        lines = [f"conformance of {self.subject}"]
        for outcome in self.outcomes:
            detail = f"  ({outcome.detail})" if outcome.detail else ""
            lines.append(f"  {outcome.verdict:8}{outcome.name.replace('_', ' ')}{detail}")
            if outcome.verdict == "failed":
                lines.append(f"          promised: {outcome.promise}")
        lines.append(self.summary())
        return "\n".join(lines)

    def summary(self) -> str:
        """Return the sum as one line."""
        verdicts: Sequence[Verdict] = ("passed", "failed", "warned", "skipped")
        return ", ".join(f"{self.count(verdict)} {verdict}" for verdict in verdicts)
