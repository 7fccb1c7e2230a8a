"""One breach of one invariant."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What is wrong, and with which message."""

    invariant: str
    id: str
    text: str
