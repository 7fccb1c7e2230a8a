"""Messages that look as if they had been sent long ago, and a clock that says it is time to trim."""

from __future__ import annotations

from .room import Room, outgoing

HOUR = 3_600_000
DAY = 24 * HOUR


def add_aged(room: Room, message_id: str, *, age: int, level: int = 2, inbox: str = "pm") -> None:
    """Store a message that looks as if it had been sent *age* milliseconds ago; oldest first."""
    seconds, micro = room.redis.time()
    entry = f"{seconds * 1000 + micro // 1000 - age}-0"
    fields = {"i": message_id, "d": outgoing(message_id, inbox=inbox).data}
    room.redis.xadd(room.key(f"q:{level}", inbox), fields, id=entry)
    room.redis.set(room.key(f"id:{message_id}", inbox), f"{entry.partition('-')[0]}0000{level}")
    room.redis.sadd(f"{room.namespace}:{{@sys}}:inboxes", inbox)


def trim_now(room: Room) -> None:
    """Let the next call of a reader trim, which it does once a minute."""
    room.redis.hdel(room.key("meta"), "trimmed")
