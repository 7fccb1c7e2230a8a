"""What an open bus is made of, for the pages of verbs that stand on it; `hivebus.bus.Bus` is all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hivebus.errors import Unsupported

if TYPE_CHECKING:
    from hivebus.asking import Asking
    from hivebus.codec import Codec
    from hivebus.consuming import Consuming
    from hivebus.handlers import Handlers
    from hivebus.notices import Notices
    from hivebus.sending import Sending
    from hivebus.stamps import Stamps
    from hivebus.transport import Capabilities, Publisher

T = TypeVar("T")


class OpenBus:
    """Who the agent is, its connected transport, and a helper for each road. `Bus` makes them as it is opened."""

    agent: str
    url: str
    capabilities: Capabilities
    _transport: Publisher
    _codec: Codec
    _stamps: Stamps
    _handlers: Handlers
    _sending: Sending
    _notices: Notices
    _consuming: Consuming
    _asking: Asking

    def _offers(self, kind: type[T], capability: str) -> T:
        """Return the transport as one that has *capability*, or raise `Unsupported`."""
        if isinstance(self._transport, kind):
            return self._transport
        raise Unsupported(f"{self.url} lacks the capability {capability}", hint="hivebus transports describe")
