"""What this package adds to hivebus."""

from __future__ import annotations

from collections.abc import Callable

from hivebus.hookspecs import RegisterCommand, hookimpl
from hivebus.transport import Scheme


@hookimpl
def register_transports(register: Callable[[Scheme], None]) -> None:
    """Join two transports, the one that is left and the one that is moved to."""
    register(
        Scheme(
            name="dualwrite",
            transport="hivebus_migration.dual_write:join",
            summary="two transports side by side; used when legacy_url is set",
        )
    )


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Add the commands of the migration."""
    register(
        "migrate", "hivebus_migration.commands:migrate", summary="Move agents from one road to the other, step by step"
    )
    register("bridge", "hivebus_migration.bridge_command:bridge", summary="Write the legacy leg for other processes")
    register(
        "compat",
        "hivebus_migration.compat.command:compat",
        summary="Let code that was written for message_bus go on as it is",
    )
