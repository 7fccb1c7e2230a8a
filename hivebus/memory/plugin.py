"""Registers `memory://`, in the way that every other transport is registered."""

from __future__ import annotations

from collections.abc import Callable

from hivebus.hookspecs import hookimpl
from hivebus.transport import Scheme


@hookimpl
def register_transports(register: Callable[[Scheme], None]) -> None:
    """Serve ``memory://``: everything that connects to it in one process and event loop shares it."""
    register(
        Scheme(
            name="memory",
            transport="hivebus.memory.transport:MemoryTransport",
            summary="inside one process and event loop; gone when it ends",
        )
    )
