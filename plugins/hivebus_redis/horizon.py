"""What an idle reader waits behind: the last entries it knows of, and the time when something falls due."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.transport import Delivery
from hivebus_redis.layout import LEVELS


class Horizon:
    """The ids for a blocking read, highest level first, then the bell's.

    Entries behind them are new, or went to somebody else: waking too often is harmless, too late is not.

    Args:
        ids: as the server gave them to an idle reader.
        due_at: time of the event loop at which something falls due that no entry announces.
    """

    def __init__(self, ids: Sequence[bytes], *, due_at: float) -> None:
        self.due_at = due_at
        self._ids = list(ids)
        self._handed: dict[str, str] = {}

    def move_behind(self, deliveries: Sequence[Delivery]) -> None:
        """Take note of entries that were handed over; those of earlier attempts are older and change nothing."""
        self._move()
        # Of each level only the last one matters, and a token begins with its level.
        self._handed = {delivery.token[0]: delivery.token for delivery in deliveries}

    @property
    def ids(self) -> Sequence[bytes]:
        """The last entries that are known, highest level first, then the bell's."""
        self._move()
        return self._ids

    def _move(self) -> None:
        # Put off until somebody asks, or the next ones come: a handler waits for what was handed over.
        for token in self._handed.values():
            level, entry, _ = token.split("/", 2)
            at = LEVELS.index(int(level))
            if _order(entry) > _order(self._ids[at].decode()):
                self._ids[at] = entry.encode()
        self._handed = {}


def _order(entry: str) -> tuple[int, int]:
    ms, _, seq = entry.partition("-")
    return int(ms), int(seq)
