"""Which inboxes a message goes to, and the form in which it is handed to a transport.

The one place that turns an address into inboxes. What there is to know besides the address is a snapshot, `Routes`;
who reads it, and when again, is the business of `hivebus.guiding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hivebus.address import owner_of, parse_address
from hivebus.errors import InvalidMessage, NotFound, Unsupported
from hivebus.heading import Heading
from hivebus.patterns import key_of_copy
from hivebus.topics import Subscriptions
from hivebus.transport import Outgoing, Published

KEPT = 4096
"""How many ways a snapshot remembers; then it begins anew."""
MOVES = 8
"""How many renames of one agent are followed."""
NOTHING: Mapping[str, Any] = {}


# Plain classes: a process per message defines them anew each time, and a named tuple takes ten times as long for that.


class Way:
    """Where messages of one heading go.

    Attributes:
        names: whom the address means; inboxes: theirs first, then those of subscribers, each once.
        addressed: how many of *inboxes* are theirs.
    """

    __slots__ = ("addressed", "inboxes", "names")

    def __init__(self, names: tuple[str, ...], inboxes: tuple[str, ...], addressed: int) -> None:
        self.names = names
        self.inboxes = inboxes
        self.addressed = addressed


class Fallback:
    """Who gets the mail of an agent that has not been seen for *after* seconds."""

    __slots__ = ("after", "to")

    def __init__(self, to: str, after: float) -> None:
        self.to = to
        self.after = after

    def is_due(self, published: Published) -> bool:
        """Tell by the answer to a publish whether nobody has read that inbox for long enough."""
        return published.readers == 0 and (published.idle is None or published.idle >= self.after)


class Routes:
    """What is known of subscriptions, fallbacks and renames at one moment.

    Args:
        entries: by agent: ``subscriptions`` (patterns), ``fallback`` with ``fallback_after`` (seconds), ``moved_to``.
        version: how many changes there were when it was read.

    Attributes:
        known: the ways found so far, by the text of the heading.
        fallbacks: by agent.
    """

    def __init__(self, entries: Mapping[str, Mapping[str, Any]] = NOTHING, *, version: int | None = 0) -> None:
        self.version = version
        self.known: dict[str, Way] = {}
        self.fallbacks = dict(_fallbacks(entries))
        self.subscriptions = Subscriptions(_subscriptions(entries))
        self._moved = {name: entry["moved_to"] for name, entry in entries.items() if entry.get("moved_to")}

    def way(self, heading: Heading, names: tuple[str, ...]) -> Way:
        """Return the way to *names* and to all who subscribed. A sender gets no copy of what it said itself."""
        addressed = dict.fromkeys(self.home_of(name) for name in names)
        # Who waits for an answer has it: it is addressed to a temporary inbox.
        told = {owner_of(inbox) for inbox in addressed}
        copies = {
            subscriber: None
            for key in dict.fromkeys(key_of_copy(heading.key, name) for name in names)
            for subscriber in self.subscriptions.of(key)
            if subscriber not in told and subscriber != heading.from_agent
        }
        return Way(names, (*addressed, *copies), len(addressed))

    def keep(self, heading: Heading, way: Way) -> None:
        """Remember a way that depends on nothing but the heading and this snapshot."""
        if len(self.known) >= KEPT:
            self.known.clear()
        self.known[heading.text] = way

    def home_of(self, name: str) -> str:
        """Return the inbox of a name: another one when the agent was renamed."""
        for _ in range(MOVES):
            if name not in self._moved:
                break
            name = self._moved[name]
        return name


def names_of(
    to_agent: str | tuple[str, ...], *, registered: Sequence[str] = (), pools: Sequence[str] = (), sender: str = ""
) -> tuple[str, ...]:
    """Return whom an address means: everybody *registered* but the sender, or a pool as ``@name``.

    Raises:
        NotFound: there is no such pool, or nobody to hear a broadcast.
    """
    address = parse_address(to_agent)
    if address.kind == "everyone":
        names = tuple(name for name in registered if name != sender)
        if not names:
            raise NotFound(
                "nobody is registered whom a broadcast could reach",
                cause="an agent is registered when it reads its inbox for the first time, or subscribes to a topic",
                hint="hivebus agents list; or name the agents",
            )
        return names
    if address.kind == "pool" and address.names[0] not in pools:
        raise _no_pool(address.names[0], pools)
    return tuple(f"@{name}" for name in address.names) if address.kind == "pool" else address.names


def needs(to_agent: str | tuple[str, ...]) -> str | None:
    """Return the kind of shared facts without which an address means nobody: ``agents``, ``pools`` or none."""
    if isinstance(to_agent, str):
        if to_agent in ("*", "broadcast"):
            return "agents"
        if to_agent[:1] == "@":
            return "pools"
    return None


def no_directory(to_agent: object) -> Unsupported:
    """Return the error for an address that only shared facts give a meaning, where none are kept."""
    return Unsupported(
        f"the address {to_agent!r} needs a transport that keeps a directory",
        cause="this one does not know which agents and pools there are",
        hint="name the agents: a list makes one message each",
    )


def route(
    heading: Heading, inboxes: Sequence[str], *, message_id: str, ttl: float | None, delay: float, data: bytes
) -> list[Outgoing]:
    """Return one item per inbox: the same message under the same id."""
    return [outgoing(heading, inbox, message_id=message_id, ttl=ttl, delay=delay, data=data) for inbox in inboxes]


def outgoing(
    heading: Heading, inbox: str, *, message_id: str, ttl: float | None, delay: float, data: bytes
) -> Outgoing:
    """Return the item for one inbox."""
    if ttl is not None and ttl <= delay:
        raise InvalidMessage(
            field="ttl", value=ttl, rule=f"must be more than its delay of {delay:g} s, or it expires unread"
        )
    _, _, _, _, level, key, _ = heading
    return Outgoing(inbox, message_id, key, level, delay, ttl, data)


def _subscriptions(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, object]]:
    for name, entry in entries.items():
        patterns = entry.get("subscriptions")
        for pattern in patterns if isinstance(patterns, list) else ():
            yield name, pattern


def _fallbacks(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Fallback]]:
    for name, entry in entries.items():
        if entry.get("fallback"):
            yield name, Fallback(str(entry["fallback"]), float(entry.get("fallback_after", 0)))


def _no_pool(name: str, pools: Sequence[str]) -> NotFound:
    # Imported late: a process per message never needs it.
    from hivebus.pools import not_there

    return not_there(name, pools)
