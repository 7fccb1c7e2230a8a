"""What this package adds to hivebus."""

from __future__ import annotations

from collections.abc import Callable

from hivebus.hookspecs import RegisterCommand, hookimpl
from hivebus.transport import Scheme

_STREAMS = "hivebus_redis.streams:open_streams"
_ONE_SHOT = "hivebus_redis.one_shot:redis_one_shot"
_SUMMARY = "durable inboxes on Redis Streams"
_PUBSUB = "hivebus_redis.pubsub:open_pubsub"
_HEARD = "fire-and-forget on Redis Pub/Sub; what nobody hears is gone"


@hookimpl
def register_transports(register: Callable[[Scheme], None]) -> None:
    """Serve Redis and Valkey by URL, and the embedded server without one."""
    for name in ("redis", "redis+streams", "rediss", "unix"):
        register(Scheme(name=name, transport=_STREAMS, one_shot=_ONE_SHOT, summary=_SUMMARY))
    for name in ("redis+pubsub", "rediss+pubsub", "unix+pubsub"):
        register(Scheme(name=name, transport=_PUBSUB, summary=_HEARD))
    register(
        Scheme(
            name="embedded",
            transport="hivebus_redis.streams:open_embedded",
            one_shot="hivebus_redis.one_shot:embedded_one_shot",
            summary="durable inboxes on a private server of this machine, started when needed",
            where="hivebus_redis.embedded:where",
        )
    )


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Add the commands that look after the embedded server."""
    register("up", "hivebus_redis.commands:up", summary="Start the embedded server, or say where it is")
    register("down", "hivebus_redis.commands:down", summary="Stop the embedded server; its data stays")
    register("logs", "hivebus_redis.commands:logs", summary="Show the log of the embedded server")
    register("drill", "hivebus_redis.drill.command:drill", summary="Break a private server, and judge every message")
    register("doctor", "hivebus_redis.doctor:doctor", summary="Examine the server, and attest it for agents")
