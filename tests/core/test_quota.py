"""What the setting says, and transports on which it cannot hold."""

from __future__ import annotations

from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.errors import ConfigError, Unsupported
from hivebus.memory.transport import MemoryTransport
from hivebus.metering import Metered
from hivebus.quota import Quota, quota_of
from hivebus.settings import load
from hivebus.transport import Capabilities, Endpoint

from .flaky import Serving
from .test_bus import Wall


class ClosedWall(Wall):
    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_where_nobody_counts_a_quota_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBUS_QUOTA", "1/s")
    wall = ClosedWall()
    with pytest.raises(Unsupported, match="cannot count what an agent sends"):
        async with Bus("memory://", agent="pm", plugins=[Serving(wall)]):
            pass
    assert wall.closed


@pytest.mark.parametrize(
    ("text", "means"),
    [("20/s", (20, 20)), ("20", (20, 20)), ("600/m", (10, 10)), ("30/m", (0.5, 1)), ("36/h burst 5", (0.01, 5))],
)
def test_a_quota_is_a_rate_and_a_burst(text: str, means: tuple[float, int]) -> None:
    assert quota_of(load({"quota": text}).quota or "") == Quota(*means, text)


@pytest.mark.parametrize("text", ["", "0/s", "-1", "20/d", "20 burst 0", "1e3", "many", "20/s 5", True])
def test_what_is_no_quota_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match="20/s burst 100"):
        load({"quota": text})


async def test_a_metered_transport_is_connected_and_closed_as_what_is_inside() -> None:
    memory = MemoryTransport(Endpoint(url="memory://"))
    metered = Metered(memory, memory, sender="pm", quota=quota_of("1/s"))
    assert isinstance(await metered.connect(), Capabilities)
    assert await metered.publish([]) == []
    await metered.close()
