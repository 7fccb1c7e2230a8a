"""A check: one promise of the transport page, and when it applies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hivebus.transport import LADDERS, Capabilities, Publisher

if TYPE_CHECKING:
    from hivebus.testing.harness import Harness

Body = Callable[["Harness"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise.

    Attributes:
        name: a sentence with underscores.
        summary: what happens to a message when it is kept.
        kinds: the classes of the transport page that promise it; all of them are needed.
        proves: the capabilities that must be declared for it to hold, such as ``delay`` or
            ``attempts>=exact``; none for what every transport of those kinds promises.
        body: does it, and raises when the promise is broken.
    """

    name: str
    summary: str
    kinds: tuple[type, ...]
    proves: tuple[str, ...]
    body: Body

    def missing(self, transport: Publisher) -> list[str]:
        """Return the names of the classes that the transport would have to be and is not."""
        return [kind.__name__ for kind in self.kinds if not isinstance(transport, kind)]

    def undeclared(self, capabilities: Capabilities) -> list[str]:
        """Return which of the capabilities at stake are not declared."""
        return [requirement for requirement in self.proves if not _declares(capabilities, requirement)]


def promise(*kinds: type, proves: str | tuple[str, ...] = ()) -> Callable[[Body], Check]:
    """Make a check of the function below, whose name and docstring say what is promised."""

    def make(body: Body) -> Check:
        return Check(
            name=body.__name__,
            summary=(body.__doc__ or "").strip().partition("\n")[0],
            kinds=kinds,
            proves=(proves,) if isinstance(proves, str) else proves,
            body=body,
        )

    return make


def _declares(capabilities: Capabilities, requirement: str) -> bool:
    name, _, least = requirement.partition(">=")
    feature = getattr(capabilities, name)
    if not feature or feature.value == "none":
        return False
    return not least or _reaches(feature.value, least, LADDERS.get(name))


def _reaches(value: Any, least: str, ladder: Any) -> bool:
    if ladder is not None:
        return bool(ladder.index(value) >= ladder.index(least))
    return bool(value >= float(least))
