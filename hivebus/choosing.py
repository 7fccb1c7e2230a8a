"""Which roads a message shall travel, where there are several and a plugin cares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivebus.envelope import Envelope
from hivebus.errors import ConfigError
from hivebus.plugins import Plugins

if TYPE_CHECKING:
    from hivebus.message import Message


class Choosing:
    """Asks the hook `choose_legs`, message by message."""

    def __init__(self, plugins: Plugins, *, legs: Sequence[str]) -> None:
        self._plugins = plugins
        self._legs = tuple(legs)
        # Nobody is asked where there is no choice, or nobody who cares: a message would have to be built for it.
        self.is_needed = bool(legs) and plugins.observes("choose_legs")

    def legs_for(self, sent: Envelope | Message) -> tuple[str, ...]:
        """Return the legs that a plugin chose, the acting one first; none leaves it to the transport."""
        if isinstance(sent, Envelope):
            from hivebus.message import message_of

            sent = message_of(sent)
        chosen = tuple(self._plugins.choose_legs(sent, self._legs) or ())
        if not set(chosen) <= set(self._legs):
            raise ConfigError(
                f"a plugin chose the legs {', '.join(chosen)} for message {sent.message_id}",
                cause=f"there are {' and '.join(self._legs)}",
                hint="hivebus plugins list",
            )
        return chosen
