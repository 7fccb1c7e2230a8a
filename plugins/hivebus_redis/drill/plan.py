"""What a drill sends and how it handles it: every content says what its handler shall do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal, NamedTuple

WORK = "work"
"""The inbox of many consumers."""
ORDER = "order"
"""The inbox of a single consumer: the order of its messages is judged."""
HANDLED_TYPE = "task_request"
UNHANDLED_TYPE = "question"

DEAD: Mapping[str, str] = {
    "poison": "crash_loop",
    "failing": "max_retries",
    "unwanted": "unwanted",
    "orphan": "no_handler",
    "expiring": "expired",
    "invalid": "invalid:",
}
"""Kinds of messages that belong in the dead letters, and how the reason begins."""
PRIORITIES = (("low", 1), ("medium", 2), ("high", 3), ("urgent", 4), ("emergency", 5))
MAX_CRASHES = 4
"""Fewer than a bus has by default, so that a poison message is given up within a short drill."""
_TRAFFIC: Mapping[str, int] = {"plain": 90, "brief": 8, "lengthy": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all processes of a drill agree on.

    Attributes:
        url: the server.
        seed: what the messages are drawn from.
        lease: seconds, of every consumer.
        max_crashes: how often a message may take its process down.
        rate: messages a second, of each producer.
        at_once: how many a producer sends together.
        durability: the level that producers ask for; None takes what the server gives.
    """

    url: str
    seed: int = 1
    lease: float = 2.0
    max_crashes: int = MAX_CRASHES
    rate: float = 600.0
    at_once: int = 20
    durability: Literal["memory", "fsync", "replicated"] | None = None

    def facts(self) -> dict[str, Any]:
        """Return it as words of JSON."""
        return asdict(self)


class Letter(NamedTuple):
    """One message to be: *kind* stands at the beginning of its content."""

    id: str
    inbox: str
    kind: str
    priority: str
    content: str
    delay: float = 0.0

    @property
    def options(self) -> dict[str, Any]:
        """What `Bus.send` and `hivebus.send` are told besides."""
        return {
            "message_id": self.id,
            "priority": self.priority,
            "delay": self.delay,
            "ttl": 1 if self.kind == "expiring" else None,
            "message_type": UNHANDLED_TYPE if self.kind == "orphan" else HANDLED_TYPE,
            "max_retries": 2,
            # What expires does so while it waits for another attempt.
            "retry_delay": 1.5 if self.kind == "expiring" else 0.1,
        }


def letter(kind: str, message_id: str, *, inbox: str = WORK, priority: str = "medium", text: str = "") -> Letter:
    """Return a message of one kind."""
    delay = 0.5 if kind == "delayed" else 0.0
    return Letter(message_id, inbox, kind, priority, f"{kind}:{text}", delay)


def traffic(plan: Plan, name: str, number: int) -> Letter:
    """Return the message of that number: the same one whenever a producer of this name is asked again."""
    random = Random(f"{plan.seed}:{name}:{number}")
    text = f"{number} {'x' * random.randrange(20, 200)}"
    return letter(random.choices(list(_TRAFFIC), list(_TRAFFIC.values()))[0], f"{name}-{number}", text=text)


def ordered(plan: Plan, name: str, number: int) -> Letter:
    """Return the message of that number for the inbox whose order is judged."""
    random = Random(f"{plan.seed}:{name}:{number}")
    kind = "delayed" if random.random() < 0.02 else "brief"
    # What is judged by its time goes first when it is due: otherwise it may rightly wait for what is more urgent.
    priority = "emergency" if kind == "delayed" else random.choices(PRIORITIES, (20, 60, 10, 8, 2))[0][0]
    return letter(kind, f"{name}-{number}", inbox=ORDER, priority=priority, text=str(number))


def level(priority: str) -> int:
    """Return the number of a priority."""
    return dict(PRIORITIES)[priority]
