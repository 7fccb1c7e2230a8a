"""Which leg acts in which stage, and where the copy goes: memory is moved to, files are left."""

from __future__ import annotations

from .house import server, set_stage

STAGES = ["off", "dualwrite", "live"]
ACTING = {"off": "files", "dualwrite": "files", "live": "memory"}
COPIED_TO = {"off": (), "dualwrite": ("memory",), "live": ("files",)}


async def in_stage(stage: str, agent: str = "dev") -> None:
    """Write the stage of an agent; off is that of everybody who has none."""
    if stage != "off":
        await set_stage(await server(), agent, stage)
