"""`redis+pubsub://`: fire-and-forget. Whoever listens at that moment hears it; what nobody hears is gone."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus import limits
from hivebus.errors import HivebusError, InvalidMessage, Unknown
from hivebus.lacking import unkept
from hivebus.patterns import Patterns, key_of_copy
from hivebus.transport import Capabilities, Endpoint, Feature, Listener, Outgoing, Published, native
from hivebus_redis.address import Address, parse_endpoint
from hivebus_redis.connection import Channel
from hivebus_redis.errors import while_starting
from hivebus_redis.layout import Layout
from hivebus_redis.subscription import Subscription

MAX_BATCH = 500


def open_pubsub(endpoint: Endpoint) -> RedisPubSub:
    """Return the transport for ``redis+pubsub://``, ``rediss+pubsub://`` and ``unix+pubsub://`` URLs."""
    return RedisPubSub(parse_endpoint(endpoint), namespace=endpoint.namespace, limit=endpoint.limit)


class RedisPubSub(Listener):
    """Publishes on the channel ``<namespace>:agent.<name>.<message_type>``, and listens to patterns of it.

    It needs no server-side functions and no keys, so that an agent may be allowed nothing but channels.
    """

    def __init__(self, address: Address, *, namespace: str, limit: int) -> None:
        self._address = address
        self._layout = Layout(namespace)
        self._limit = limit
        self._channel = Channel(address)
        self._subscriptions: dict[tuple[str, ...], Subscription] = {}

    async def connect(self) -> Capabilities:
        """Connect and say how little this promises."""
        await while_starting(lambda: self._channel.call("PING"))
        return Capabilities(
            evidence=native("accepted"),
            durability=Feature("absent", "none"),
            order=native("per_sender"),
            max_body=native(self._limit),
            max_batch=native(MAX_BATCH),
        )

    async def close(self) -> None:
        """Close every connection; what was heard and not taken is gone."""
        for subscription in self._subscriptions.values():
            await subscription.close()
        await self._channel.close()

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        """Say all of a batch in one go; each answer is how many heard it."""
        results: list[Published | HivebusError | None] = [self._problem(item) for item in batch]
        said = [place for place, problem in enumerate(results) if problem is None]
        commands = [("PUBLISH", self._channel_of(batch[place]), batch[place].data) for place in said]
        answers = await self._channel.call_each(commands) if commands else []
        for place, answer in zip(said, answers, strict=True):
            results[place] = _result(answer)
        return [result for result in results if result is not None]

    async def listen(self, patterns: Sequence[str], *, limit: int, wait: float) -> Sequence[bytes]:
        """Return what was heard; each set of patterns has a connection of its own, from its first call on."""
        wanted = tuple(patterns)
        if wanted not in self._subscriptions:
            self._subscriptions[wanted] = Subscription(self._address, self._layout, Patterns(wanted))
        return await self._subscriptions[wanted].take(limit=limit, wait=wait)

    def _channel_of(self, item: Outgoing) -> str:
        return self._layout.channel(key_of_copy(item.routing_key, item.inbox))

    def _problem(self, item: Outgoing) -> HivebusError | None:
        try:
            limits.check_encoded(item.data, limit=self._limit)
        except InvalidMessage as error:
            return error
        return unkept(item, where=self._address.where)


def _result(answer: int | HivebusError) -> Published | HivebusError:
    if isinstance(answer, Unknown):
        # Nothing would recognise it: said again, it may be heard twice.
        return Unknown(
            answer.what,
            cause=f"{answer.cause}; it was heard or not, and is not said again",
            hint="say it again if hearing it twice does no harm; or use redis://, which stores an id once",
            repeatable=False,
        )
    return answer if isinstance(answer, HivebusError) else Published("stored", heard=answer)
