"""Waits that end early when it is time to stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def pause_unless(stopping: asyncio.Event, seconds: float) -> None:
    """Wait *seconds*, but not longer than until *stopping* is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
