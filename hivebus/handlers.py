"""The handlers of one agent, by the types of messages that they take."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from hivebus.errors import ConfigError, Reject
from hivebus.handling import Handler

if TYPE_CHECKING:
    from hivebus.message import Message


class Handlers:
    """Who takes what."""

    def __init__(self) -> None:
        self._by_type: dict[str, Handler] = {}
        self._otherwise: Handler | None = None
        self._once: set[Handler] = set()

    def add(self, handler: Handler, *, types: Sequence[str], once: bool) -> None:
        """Give *handler* these types; without types, all that no other takes."""
        if not iscoroutinefunction(handler):
            raise ConfigError(f"the handler {handler!r} must be an async function", hint="async def")
        if types:
            self._by_type.update(dict.fromkeys(types, handler))
        else:
            self._otherwise = handler
        if once:
            self._once.add(handler)

    @property
    def has_once(self) -> bool:
        """Whether any of them shall do its work once."""
        return bool(self._once)

    def is_once(self, message: Message) -> bool:
        """Tell whether the handler of a message shall do its work once."""
        return self._by_type.get(message.message_type, self._otherwise) in self._once

    def find(self, message: Message) -> Handler:
        """Return the handler of a message; without one, the message is given up: `Reject`."""
        handler = self._by_type.get(message.message_type, self._otherwise)
        if handler is None:
            raise Reject("no_handler")
        return handler
