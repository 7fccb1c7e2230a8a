"""Messages that are trouble themselves: for their handler, for its process, or because nobody can read them."""

from __future__ import annotations

from random import Random

import redis

from hivebus_redis.drill.exercise import SERVER, Exercise
from hivebus_redis.drill.faults.fault import Fault
from hivebus_redis.drill.plan import WORK, letter
from hivebus_redis.drill.producing import sending


class MessageFault(Fault):
    """One message of a kind that is trouble."""

    def __init__(self, name: str, kind: str, row: int, *, settles: float = 0.0) -> None:
        self.name = name  # type: ignore[misc]
        self.row = row  # type: ignore[misc]
        self.settles = settles
        self._kind = kind

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return the server, since it must take the message."""
        return SERVER if exercise.server.is_up else None

    def begin(self, exercise: Exercise, target: str) -> None:
        """Send it."""
        exercise.post(self._kind)

    def befalls(self, exercise: Exercise, target: str) -> str:
        """Return that it befalls nobody but its handler: it explains nothing about other messages."""
        return "message"


class Unreadable(MessageFault):
    """An entry that another program wrote into the stream."""

    def begin(self, exercise: Exercise, target: str) -> None:
        """Write it."""
        with exercise.server.client() as client:
            try:
                number = client.incr("drill:invalid")
                each = letter("invalid", f"invalid-{number}", inbox=WORK)
                exercise.book.write_all([sending(each)])
                client.xadd(f"hb:{{{WORK}}}:q:2", {"i": each.id, "d": '{"schema_version": 1, "body": '})
            except redis.RedisError:
                exercise.book.write("U", f"invalid-{number}", "RedisError")
            else:
                exercise.book.write("A", each.id, "written")


class FullInbox(MessageFault):
    """Sends to an inbox that holds as much as it may: refused, and nothing is trimmed to make room."""

    def begin(self, exercise: Exercise, target: str) -> None:
        """Send with a limit that is reached already; what was refused is sent again at the end."""
        exercise.post("plain", times=5, query="?max_messages=1")


MESSAGE_FAULTS: tuple[Fault, ...] = (
    MessageFault("handler.poison", "poison", 8, settles=12.0),
    MessageFault("handler.fails", "failing", 9),
    MessageFault("handler.fails_once", "flaky", 9),
    MessageFault("handler.outlasts_its_lease", "outlasting", 10, settles=5.0),
    MessageFault("handler.rejects", "unwanted", 9),
    MessageFault("message.sent_twice", "twice", 11),
    MessageFault("message.expires", "expiring", 0),
    MessageFault("message.without_handler", "orphan", 0),
    Unreadable("message.unreadable", "invalid", 36),
    FullInbox("inbox.full", "plain", 29),
)
