"""Sends one message at a time from the drill's own process, past everybody's settings."""

from __future__ import annotations

from hivebus.codec import JsonCodec
from hivebus.errors import HivebusError, Unsupported
from hivebus.message import Message
from hivebus.transport import Endpoint, Outgoing
from hivebus_redis.drill.plan import Letter, level
from hivebus_redis.one_shot import redis_one_shot

SENDER = "drill"


def post(letter: Letter, url: str) -> str:
    """Send it by a single call; return the state of its receipt, or raise what became of it."""
    options = letter.options
    message = Message(
        message_id=letter.id,
        from_agent=SENDER,
        to_agent=letter.inbox,
        message_type=options["message_type"],
        priority=letter.priority,
        ttl=options["ttl"],
        body={"content": letter.content},
        delivery_options={name: options[name] for name in ("max_retries", "retry_delay")},
    )
    sender = redis_one_shot(Endpoint(url=url))
    if sender is None:
        raise Unsupported(f"{url} cannot be served by a single call", hint="a unix:// or redis:// URL")
    item = Outgoing(
        inbox=letter.inbox,
        message_id=letter.id,
        routing_key=f"agent.{letter.inbox}.{message.message_type}",
        priority=level(letter.priority),
        delay=letter.delay,
        ttl=options["ttl"],
        data=JsonCodec().encode(message),
    )
    (answer,) = sender.publish_once([item])
    if isinstance(answer, HivebusError):
        raise answer
    return answer.state
