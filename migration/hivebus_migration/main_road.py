"""A connection to the transport that is moved to, where the stages of agents are kept."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hivebus.address import behind_shadow
from hivebus.cli.app import App
from hivebus.errors import ConfigError
from hivebus.roads import open_roads
from hivebus.transport import Directory, Inspectable
from hivebus_migration.stages import read_stages


@dataclass(frozen=True, slots=True)
class MainRoad:
    """The transport that is moved to, connected.

    Attributes:
        directory: where the stages are.
        legs: the names of both roads, this one first.
    """

    directory: Directory
    legs: Sequence[str]

    async def agents(self) -> list[str]:
        """Return who has an inbox or a stage, sorted."""
        known = set(await read_stages(self.directory))
        if isinstance(self.directory, Inspectable):
            known |= {behind_shadow(inbox)[0] for inbox in await self.directory.inboxes()}
        return sorted(known)


@asynccontextmanager
async def main_road(app: App) -> AsyncIterator[MainRoad]:
    """Connect to the transport that is moved to, and disconnect in the end; raises `Unavailable`."""
    # In a thread, since starting the embedded server blocks.
    roads = await asyncio.to_thread(open_roads, app.settings)
    main = next(iter(roads.values()))
    if not isinstance(main, Directory):
        raise ConfigError(
            f"the {next(iter(roads))} transport keeps no directory, so it cannot hold the stages of agents",
            hint="set url to a transport that does, such as redis://localhost:6379",
        )
    try:
        await main.connect()
        yield MainRoad(main, list(roads))
    finally:
        await main.close()


def operator(app: App) -> str:
    """Return who moves an agent: the agent that runs the command, or else the user of this machine."""
    if app.identity.agent:
        return app.identity.agent
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"  # a process without a name in the system
    return f"{user}@{socket.gethostname()}"
