"""Every way hivebus can fail, as one tree.

HivebusError
├── InvalidMessage          the message breaks a limit; nothing was written
├── Refused                 the server said no; nothing was written
│   ├── QueueFull           the inbox is at its limit
│   ├── BrokerFull          the server is out of memory or disk
│   ├── NotPermitted        credentials or access rules forbid it
│   ├── NotFound            there is no such message, agent or queue
│   ├── Conflict            somebody else wrote first
│   └── QuotaExceeded       the sender has sent as much as it may; later it may send again
├── Unknown                 timeout or lost connection: safe to send again with the same message_id
│   └── NoAnswer            the question is stored, and no answer came so far
├── Unavailable             nothing answered at that address
├── DurabilityUnavailable   the server does not give the level that was asked for
├── Unsupported             the transport lacks the capability that was asked for
└── ConfigError             a setting is wrong

Reject                      not a failure: a handler raises it to dead-letter its message now
"""

from __future__ import annotations


class HivebusError(Exception):
    """Base of all errors: what happened, the likely cause, the next step."""

    def __init__(self, what: str, *, cause: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.cause:
            parts.append(f"({self.cause})")
        if self.hint:
            parts.append(f"-> {self.hint}")
        return " ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # As it is, whatever its constructor asks for: a pool of processes breaks over an error that it cannot pass on.
        return _revived, (type(self), self.args, self.__dict__)


class InvalidMessage(HivebusError):
    """A message breaks a limit. It was not sent, or it was found broken in an inbox.

    Attributes:
        field: the offending field, as a path such as ``body.content``.
        value: what was found there, shortened.
        rule: what the field must be.
        why: one word for dead letters, which read ``invalid:<why>``.
    """

    def __init__(self, *, field: str, value: object, rule: str, why: str | None = None) -> None:
        # A path may hold keys that a stranger chose: it is shown, and it names a dead letter.
        self.field = field if field.isprintable() and len(field) <= 100 else one_line(ascii(field)[1:-1], limit=100)
        self.value = shorten(value)
        self.rule = rule
        self.why = why or self.field
        super().__init__(
            f"invalid message: {self.field} = {self.value}: {rule}",
            hint=f"change {self.field} and send again; nothing was written",
        )


class Refused(HivebusError):
    """The server refused; nothing was written."""


class QueueFull(Refused):
    """The inbox holds as many messages or bytes as it may; none was trimmed to make room.

    Attributes:
        depth: how many unsettled messages it holds; None when that is not known.
        oldest_seconds: for how long the oldest waiting one has waited; None when none waits, or it is not known.
        waited_seconds: for how long the sender waited for room before it was told.
    """

    def __init__(
        self,
        what: str,
        *,
        cause: str | None = None,
        hint: str | None = None,
        depth: int | None = None,
        oldest_seconds: float | None = None,
        waited_seconds: float = 0.0,
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.depth = depth
        self.oldest_seconds = oldest_seconds
        self.waited_seconds = waited_seconds

    def after(self, seconds: float) -> QueueFull:
        """Return the error for a sender that has waited so long in vain."""
        return QueueFull(
            f"{self.what}, and there was no room within {seconds:.1f} s of waiting",
            cause=self.cause,
            hint=self.hint,
            depth=self.depth,
            oldest_seconds=self.oldest_seconds,
            waited_seconds=seconds,
        )


class BrokerFull(Refused):
    """The server has no memory or disk left for new messages; consumers can still drain it.

    Attributes:
        passing: whether it ends by itself as soon as the cause does, so that a bus tries again for a while.
    """

    def __init__(self, what: str, *, cause: str | None = None, hint: str | None = None, passing: bool = False) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.passing = passing


class NotPermitted(Refused):
    """Wrong credentials, or an access rule forbids the operation."""


class NotFound(Refused):
    """No such message, agent or queue."""


class Conflict(Refused):
    """Somebody else wrote the entry first: read it again, decide again."""


class QuotaExceeded(Refused):
    """An agent has sent as much as it may for now.

    Attributes:
        sender: which agent; limit: its quota, as the setting has it.
        retry_after: seconds until it may send one more message.
    """

    def __init__(
        self,
        what: str,
        *,
        cause: str | None = None,
        hint: str | None = None,
        sender: str,
        limit: str,
        retry_after: float,
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.sender = sender
        self.limit = limit
        self.retry_after = retry_after


class Unknown(HivebusError):
    """The outcome is unknown. Sending again with the same ``message_id`` is safe, unless it says otherwise.

    Attributes:
        repeatable: whether the transport would recognise the message; a terminal would show it twice.
    """

    def __init__(
        self, what: str, *, cause: str | None = None, hint: str | None = None, repeatable: bool = True
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.repeatable = repeatable


class NoAnswer(Unknown):
    """The question is stored, and no answer came in time. A late one goes to the inbox of who asked.

    Asking again with the same id stores nothing, and with a new one asks twice.

    Attributes:
        message_id: the question's, to look for the answer: it has this as its ``correlation_id``.
    """

    def __init__(self, what: str, *, cause: str | None = None, hint: str | None = None, message_id: str) -> None:
        super().__init__(what, cause=cause, hint=hint, repeatable=False)
        self.message_id = message_id


class Unavailable(HivebusError):
    """No server answered."""


class DurabilityUnavailable(HivebusError):
    """The server does not give the durability level that was asked for."""


class Unsupported(HivebusError):
    """The transport lacks a capability that the call needs; it is named in the text."""


class ConfigError(HivebusError):
    """A setting or URL is wrong."""


class Reject(Exception):
    """Raised by a handler: dead-letter this message now, with this reason."""

    def __init__(self, reason: str = "rejected") -> None:
        super().__init__(reason)
        self.reason = reason


def _revived(kind: type[HivebusError], args: tuple[object, ...], facts: dict[str, object]) -> HivebusError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


def is_passing(error: HivebusError) -> bool:
    """Tell whether the same message may be taken when it is sent again soon, without being stored twice."""
    if isinstance(error, Unknown):
        return error.repeatable
    return isinstance(error, Unavailable) or (isinstance(error, BrokerFull) and error.passing)


def shorten(value: object, *, limit: int = 60) -> str:
    """Return *value* as it may stand in an error or a log line: escaped and short."""
    try:
        text = ascii(value) if isinstance(value, (bytes, bytearray)) else repr(value)
    except ValueError:  # Python does not write out an integer of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def one_line(text: str, *, limit: int = 200) -> str:
    """Return *text* on one line, short and valid, as it may stand in a reason."""
    line = " ".join(text.split()).encode(errors="backslashreplace").decode()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
