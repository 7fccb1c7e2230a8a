"""What a server says about itself: its INFO and its configuration, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Ask = Callable[..., Awaitable[Any]]
"""Sends one command and returns its reply: `Channel.call` or `Server.command`."""


async def configuration(ask: Ask, names: Sequence[str]) -> dict[str, str]:
    """Return settings by their names; raises `NotPermitted` for who may not read them."""
    return pairs_in(await ask("CONFIG", "GET", *names))


async def info(ask: Ask, *sections: str) -> dict[str, str]:
    """Return what INFO tells, all sections in one."""
    text = (await ask("INFO", *sections)).decode(errors="replace")
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def pairs_in(reply: object) -> dict[str, str]:
    """Return a flat reply of names and values as a mapping."""
    if not isinstance(reply, list):
        return {}
    words = [word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in reply]
    return dict(zip(words[::2], words[1::2], strict=False))
