"""A batch of settlements as one call: words for the server, and its answer as results."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from hivebus.address import is_temporary, owner_of
from hivebus.transport import Ack, DeadLetter, Extend, Outgoing, Retry, Settled, Settlement, Start
from hivebus_redis.layout import Layout

STALE = b"stale"
"""What the server says when the lease behind a whole batch is lost."""
_ANSWERS: dict[int, Settled] = {ord("d"): "done", ord("s"): "stale", ord("g"): "gone"}


class Request:
    """One ``settle`` call: `args` and `keys` go to the server, `answered` takes its reply.

    Attributes:
        results: one per settlement, in order; complete after `answered`.
        released: tokens that this consumer no longer holds.
        started: tokens that are marked started by this call.
    """

    def __init__(self, batch: Sequence[Settlement], *, epoch: str, held: set[str], layout: Layout) -> None:
        self.args: list[Any] = []
        self.keys: list[str] = []
        self.results: list[Settled] = ["stale"] * len(batch)
        self.released: set[str] = set()
        self.started: set[str] = set()
        self._layout = layout
        self._batch = batch
        self._outcomes: list[int] = []
        self._tokens = [item.token for item in batch]
        self._order: list[int] = []
        self._starts: set[int] = set()
        self._final: set[int] = set()
        self._acks: dict[str, tuple[list[str], list[str], list[int]]] = {}
        for index, item in enumerate(batch):
            token = item.token
            level, entry, issued, message_id = token.split("/", 3)
            if issued != epoch:
                self._note_outcome(index, item)
                continue
            if type(item) is Ack and item.reply is None and item.result is None and token in held:
                entries, ids, indexes = self._acks.get(level) or self._acks.setdefault(level, ([], [], []))
                entries.append(entry)
                ids.append(message_id)
                indexes.append(index)
            else:
                self._add(index, item, level, entry, message_id)
        for level, (entries, ids, indexes) in self._acks.items():
            self.args += ("A", level, len(entries), *entries, " ".join(ids))
            self._order += indexes
            self._final.update(indexes)
        if self.keys:
            self.keys.append(layout.index())

    def answered(self, reply: bytes) -> None:
        """Take the server's answer: one letter per settlement, or that the lease was lost."""
        if reply == STALE:
            self.released = set(self._tokens)
            return
        if len(self._final) == len(self._tokens) and reply == b"d" * len(self._tokens):
            # All is settled as it was asked for: nearly every call.
            self.results = ["done"] * len(self._tokens)
            self.released = set(self._tokens)
            return
        for index, letter in zip(self._order, reply, strict=True):
            self.results[index] = _ANSWERS[letter]
            if index in self._starts and letter == ord("d"):
                self.started.add(self._tokens[index])
            elif index in self._final or letter != ord("d"):
                self.released.add(self._tokens[index])

    def left_behind(self) -> Sequence[tuple[int, Request]]:
        """Return what has an outcome and was found stale: its work is done all the same.

        Each is a place in the batch and a request of its own, for the ``conclude`` function.
        """
        left = [index for index in self._outcomes if self.results[index] == "stale"]
        return [(index, self._alone(self._batch[index])) for index in left]

    def _alone(self, item: Settlement) -> Request:
        return Request([item], epoch=item.token.split("/", 3)[2], held=set(), layout=self._layout)

    def _note_outcome(self, index: int, item: Settlement) -> None:
        if isinstance(item, Ack) and item.result is not None:
            self._outcomes.append(index)

    def _add(self, index: int, item: Settlement, level: str, entry: str, message_id: str) -> None:
        if isinstance(item, Ack):
            self._final.add(index)
            if item.reply is not None or item.result is not None:
                self._note_outcome(index, item)
                self.args += ("P", level, entry, message_id, item.result or b"", *self._reply(item.reply))
            else:
                self.args += ("a", level, entry, message_id)
        elif isinstance(item, Start):
            self._starts.add(index)
            self.args += ("S", level, entry)
        elif isinstance(item, Retry):
            self._final.add(index)
            self.args += ("R", level, entry, ceil(item.delay * 1000), int(item.counts))
        elif isinstance(item, DeadLetter):
            self._final.add(index)
            self.args += ("D", level, entry, item.reason)
        elif isinstance(item, Extend):
            self.args += ("E", level, entry)
        self._order.append(index)

    def _reply(self, reply: Outgoing | None) -> tuple[Any, ...]:
        if reply is None:
            return (0, "", "", "", "")
        meta = self._layout.meta(reply.inbox)
        if meta not in self.keys:
            self.keys.append(meta)
            if is_temporary(reply.inbox):
                # Directly behind it: there the reply goes when nobody reads the temporary one any more.
                self.keys.append(self._layout.meta(owner_of(reply.inbox)))
        ttl = "" if reply.ttl is None else int(reply.ttl * 1000)
        # KEYS[1] is the inbox that is settled, so the first reply inbox is KEYS[2].
        return (self.keys.index(meta) + 2, reply.priority, reply.message_id, reply.data, ttl)


def bare(token: str) -> str:
    """Return ``level/entry`` of a token, which names the message without its lease."""
    level, entry, _ = token.split("/", 2)
    return f"{level}/{entry}"
