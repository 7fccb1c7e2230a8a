"""A message and a consumer, as the memory inbox knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hivebus.transport import Located, Outgoing, State


@dataclass(slots=True, eq=False)
class Consumer:
    """Who reads: one lease covers all that it holds, by token and in the order of hand-out."""

    name: str
    lease: float = 0.0
    until: float = 0.0
    held: dict[str, Stored] = field(default_factory=dict)


@dataclass(slots=True, eq=False, kw_only=True)
class Stored:
    """One message and what happened to it so far.

    Attributes:
        at: wall-clock time of acceptance; accepted: the same moment on the inbox's clock.
        due: when its delay or retry ends.
        started: the handler of the present consumer runs.
        suspect: a consumer died while it was started, and no handler has finished with it since.
        requeued: how often it came back from the dead letters; letter: its name there.
    """

    item: Outgoing
    at: float
    accepted: float
    expires: float | None = None
    due: float = 0.0
    state: State = "queued"
    attempts: int = 0
    failures: int = 0
    crashes: int = 0
    started: bool = False
    suspect: bool = False
    consumer: Consumer | None = None
    token: str | None = None
    reason: str | None = None
    requeued: int = 0
    letter: str | None = None
    outcome: bytes | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it will never be handed out again by itself."""
        return self.state in ("acknowledged", "dead_lettered", "expired", "cancelled")

    def has_expired(self, now: float) -> bool:
        """Tell whether its time to live is over."""
        return self.expires is not None and self.expires <= now

    def release(self) -> None:
        """Take it from its consumer; the token settles nothing any more."""
        if self.consumer is not None and self.token is not None:
            del self.consumer.held[self.token]
        self.consumer = self.token = None
        self.started = False

    def located(self, inbox: str, now: float) -> Located:
        """Return the facts that may be shown."""
        return Located(
            message_id=self.item.message_id,
            inbox=inbox,
            state=self.state,
            attempts=self.attempts,
            consumer=self.consumer.name if self.consumer else None,
            reason=self.reason,
            token=self.token,
            lease_seconds=max(0.0, self.consumer.until - now) if self.consumer else None,
            due_seconds=max(0.0, self.due - now) if self.state in ("scheduled", "retrying") else None,
            at=self.at,
            priority=self.item.priority,
            data=self.item.data or None,
            outcome=self.outcome,
            requeued=self.requeued,
            letter=self.letter,
        )
