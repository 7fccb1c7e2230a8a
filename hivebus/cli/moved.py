"""Who reads under a name that was given up: its mail goes elsewhere, and it would wait in vain."""

from __future__ import annotations

from contextlib import suppress

from hivebus import registry
from hivebus.cli.link import Link
from hivebus.cli.output import warn
from hivebus.errors import HivebusError
from hivebus.transport import Directory


async def warn_of_a_move(link: Link, agent: str) -> None:
    """Say so on stderr when an agent was renamed, and how it is undone."""
    moved_to = None
    if isinstance(link.transport, Directory):
        # Whoever reads needs no directory: one that is away, or may not be read, keeps nobody from it.
        with suppress(HivebusError):
            moved_to = await registry.moved_to(link.transport, agent)
    if moved_to is not None:
        warn(
            f"{agent} was renamed: its mail goes to {moved_to}. Read it with --agent {moved_to}, or end that:"
            f" hivebus agents forget {agent}"
        )
