"""Which inboxes a message goes to, and the form in which it is handed to a transport."""

from __future__ import annotations

from hivebus.address import parse_address
from hivebus.errors import InvalidMessage, Unsupported
from hivebus.heading import Heading
from hivebus.transport import Outgoing

_NOT_YET = "is not routed yet: this release sends to single agents, lists of agents and pools"


def inboxes_of(to_agent: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the inboxes of an address, or raise `Unsupported` for one that needs a directory of members."""
    if isinstance(to_agent, str) and to_agent[:1] not in "@*" and to_agent != "broadcast":
        # One agent, checked when the message was made: parsing it again would cost every send.
        return (to_agent,)
    address = parse_address(to_agent)
    if address.kind in ("agent", "list"):
        return address.names
    if address.kind == "pool":
        return _inbox_of_pool(address.names[0])
    raise Unsupported(f"the address {to_agent!r} {_NOT_YET}", hint="name the agents: a list makes one message each")


def route(heading: Heading, *, message_id: str, ttl: float | None, delay: float, data: bytes) -> list[Outgoing]:
    """Return one item per inbox; a list of agents gets the same message under the same id."""
    if ttl is not None and ttl <= delay:
        raise InvalidMessage(
            field="ttl", value=ttl, rule=f"must be more than its delay of {delay:g} s, or it expires unread"
        )
    _, to_agent, _, _, level, key, _ = heading
    return [Outgoing(inbox, message_id, key, level, delay, ttl, data) for inbox in inboxes_of(to_agent)]


def _inbox_of_pool(pool: str) -> tuple[str, ...]:
    return (f"@{pool}",)
