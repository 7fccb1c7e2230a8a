"""Async functions around sending and handling: the place to change or refuse a message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hivebus.message import Message
    from hivebus.receipt import Receipt

Send = Callable[["Message"], Awaitable["Receipt"]]
SendMiddleware = Callable[["Message", Send], Awaitable["Receipt"]]
"""Gets a message and the next step; returns ``await forward(message)``, or raises to refuse it."""

Handle = Callable[["Message"], Awaitable[Any]]
HandleMiddleware = Callable[["Message", Handle], Awaitable[Any]]
"""Gets a message and the next step; returns what the handler returned. Raising retries the message."""


def around_send(layers: Sequence[SendMiddleware], innermost: Send) -> Send:
    """Return *innermost* with every layer around it; the first layer is outermost."""
    for layer in reversed(layers):
        innermost = _send_layer(layer, innermost)
    return innermost


def around_handle(layers: Sequence[HandleMiddleware], innermost: Handle) -> Handle:
    """Return *innermost* with every layer around it; the first layer is outermost."""
    for layer in reversed(layers):
        innermost = _handle_layer(layer, innermost)
    return innermost


def _send_layer(layer: SendMiddleware, forward: Send) -> Send:
    async def call(message: Message) -> Receipt:
        return await layer(message, forward)

    return call


def _handle_layer(layer: HandleMiddleware, forward: Handle) -> Handle:
    async def call(message: Message) -> Any:
        return await layer(message, forward)

    return call
