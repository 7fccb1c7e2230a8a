"""The plugin author's page: every hook there is, one sentence each.

A plugin is a module or object with functions of these names, marked with ``@hookimpl``, found
through the entry-point group ``hivebus``. An implementation may take fewer arguments than its
specification; the last one registered is called first.

``register_*`` hooks *add* something and are called once, when a bus is made. Observers *watch*: they
get batches of frozen facts, in the past tense, and one that raises is logged and harms nobody. To
*change or refuse* a message, register middleware. `choose_legs` is the one question the core asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from hivebus.codec import Codec
    from hivebus.facts import Delivered, Evidenced, Sent, SettledFact
    from hivebus.message import Message
    from hivebus.middleware import HandleMiddleware, SendMiddleware
    from hivebus.transport import Scheme

hookspec = pluggy.HookspecMarker("hivebus")
hookimpl = pluggy.HookimplMarker("hivebus")


class RegisterMiddleware(Protocol):
    """What `register_middleware` is given: call it with either or both."""

    def __call__(self, *, send: SendMiddleware | None = None, handle: HandleMiddleware | None = None) -> None: ...


class RegisterCommand(Protocol):
    """What `register_commands` is given: a name, where its click command is, and its one-line help."""

    def __call__(self, name: str, target: str, *, summary: str) -> None: ...


@hookspec
def register_transports(register: Callable[[Scheme], None]) -> None:
    """Call ``register(Scheme(...))`` for each URL scheme that this plugin serves."""


@hookspec
def register_codecs(register: Callable[[Callable[[Codec], Codec]], None]) -> None:
    """Call ``register(wrap)`` with a function that is given the codec so far and returns one around it."""


@hookspec
def register_middleware(register: RegisterMiddleware) -> None:
    """Call ``register(send=..., handle=...)`` with async functions that stand around sending and handling."""


@hookspec
def register_commands(register: RegisterCommand) -> None:
    """Call ``register(name, "module:command", summary=...)`` to add a command to ``hivebus``."""


@hookspec(firstresult=True)
def choose_legs(message: Message, legs: Sequence[str]) -> Sequence[str] | None:
    """Return the names of the *legs* that *message* shall travel, acting leg first; None leaves it to others."""


@hookspec
def messages_sent(facts: Sequence[Sent]) -> None:
    """Told after the transport answered for a batch, in order of sending."""


@hookspec
def messages_delivered(facts: Sequence[Delivered]) -> None:
    """Told after messages were handed over and decoded, before their handlers run."""


@hookspec
def messages_settled(facts: Sequence[SettledFact]) -> None:
    """Told after the server answered what became of a batch of settlements."""


@hookspec
def evidence_seen(facts: Sequence[Evidenced]) -> None:
    """Told when a leg can prove more about messages than their receipts did."""
