"""Messages to bytes and back. A codec may wrap another: that is where signing belongs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from hivebus import limits

if TYPE_CHECKING:
    from hivebus.message import Message


def load_model() -> None:
    """Load what messages are made of. It takes a while, so who will read does it before anything is handed out."""
    import_module("hivebus.message")


class Codec(ABC):
    """Turns a message into the bytes that a transport carries, and back."""

    @abstractmethod
    def encode(self, message: Message) -> bytes:
        """Return the bytes to store, or raise `InvalidMessage` when they are too many."""

    @abstractmethod
    def decode(self, data: bytes) -> Message:
        """Return the message, or raise `InvalidMessage`; its ``why`` names the dead letter."""


class JsonCodec(Codec):
    """The canonical JSON of the message; reads the short shape too."""

    def __init__(self, *, limit: int = limits.MAX_ENCODED) -> None:
        self._limit = limit
        self._parse: Callable[[bytes], Message] | None = None

    def encode(self, message: Message) -> bytes:
        """Return canonical JSON of at most the limit."""
        message.check_content()
        return limits.check_encoded(message.to_json(), limit=self._limit)

    def decode(self, data: bytes) -> Message:
        """Return the message; anything broken or over the limit raises `InvalidMessage`."""
        if self._parse is None:
            # Imported here, because a bus that only sends composes envelopes and needs no model.
            from hivebus.message import Message

            self._parse = Message.from_json
        return self._parse(limits.check_encoded(data, limit=self._limit))
