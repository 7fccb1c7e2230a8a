"""Choosing legs: a plugin is asked where there is a choice, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hivebus.bus import Bus
from hivebus.errors import ConfigError, HivebusError
from hivebus.hookspecs import hookimpl
from hivebus.message import Message
from hivebus.transport import Outgoing, Published

from .flaky import FlakyTransport, Serving


class Crossroads(FlakyTransport):
    """Joins two roads, and notes which of them each message was to take."""

    legs = ("left", "right")

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[str, ...]] = []

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        self.taken += [item.legs for item in batch]
        return await super().publish(batch)


class Chooser:
    """Sends questions by the right road alone, and leaves the rest to others."""

    def __init__(self, *legs: str) -> None:
        self._legs = legs
        self.asked: list[tuple[str, Sequence[str]]] = []

    @hookimpl
    def choose_legs(self, message: Message, legs: Sequence[str]) -> Sequence[str] | None:
        self.asked.append((message.message_type, legs))
        return self._legs if message.message_type == "question" else None


async def test_a_plugin_chooses_the_roads_of_a_message() -> None:
    transport, chooser = Crossroads(), Chooser("right")
    async with Bus("memory://", agent="pm", plugins=[Serving(transport), chooser]) as bus:
        await bus.send("dev", "which?", message_type="question")
        await bus.send("dev", "this")
    assert transport.taken == [("right",), ()]
    assert chooser.asked == [("question", ("left", "right")), ("information_share", ("left", "right"))]


async def test_where_there_is_one_road_nobody_is_asked() -> None:
    chooser = Chooser("right")
    async with Bus("memory://", agent="pm", plugins=[Serving(FlakyTransport()), chooser]) as bus:
        await bus.send("dev", "which?", message_type="question")
    assert chooser.asked == []


async def test_a_road_that_does_not_exist_is_an_error_that_names_those_that_do() -> None:
    transport = Crossroads()
    async with Bus("memory://", agent="pm", plugins=[Serving(transport), Chooser("up")]) as bus:
        with pytest.raises(ConfigError, match="the legs up .*left and right"):
            await bus.send("dev", "which?", message_type="question")
    assert transport.taken == []
