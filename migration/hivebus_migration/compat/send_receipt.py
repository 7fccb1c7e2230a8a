"""What a send gives back to code that was given a bool before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from hivebus import Receipt
    from hivebus_migration.compat.message_protocol import AgentMessage


class SendReceipt(int):
    """1 and true when the server has the message, 0 and false when it was not sent.

    It counts, compares and is written as JSON like the bool that it replaces, and knows more.

    Attributes:
        message: what was sent; None when it was never made, since a value was wrong.
        receipt: the proof of hivebus; None when it was not sent.
        error: why it was not sent; None when it was.
    """

    message: AgentMessage | None
    receipt: Receipt | None
    error: Exception | None

    def __new__(
        cls,
        message: AgentMessage | None,
        receipt: Receipt | None = None,
        *,
        error: Exception | None = None,
    ) -> Self:
        made = super().__new__(cls, error is None)
        made.message, made.receipt, made.error = message, receipt, error
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[object, ...], dict[str, object]]:
        # A copy is as true as what it was made of.
        return (self.message, self.receipt), {"error": self.error}

    @property
    def message_id(self) -> str | None:
        """What `MessageBus.get_message_status` is asked with."""
        return self.message.message_id if self.message else None

    def __repr__(self) -> str:
        if self.error is not None:
            return f"SendReceipt(not sent: {self.error})"
        return f"SendReceipt({self.message_id!r}, {self.receipt!r})"
