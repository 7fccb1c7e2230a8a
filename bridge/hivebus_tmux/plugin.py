"""What this package adds to hivebus."""

from __future__ import annotations

from collections.abc import Callable

from hivebus.hookspecs import RegisterCommand, hookimpl
from hivebus.transport import Scheme


@hookimpl
def register_transports(register: Callable[[Scheme], None]) -> None:
    """Serve tmux sessions by URL."""
    register(
        Scheme(
            name="tmux",
            transport="hivebus_tmux.transport:open_tmux",
            summary="messages typed into agents' windows, safely; not durable",
        )
    )


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Add the program for windows that people watch, and the demo of both roads."""
    register("demo", "hivebus_tmux.demo.command:demo", summary="Show it working: six agents, two roads, one kill")
    register("tail", "hivebus_tmux.commands:tail", summary="Show what is pasted into this window, and run none of it")
