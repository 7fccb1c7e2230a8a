"""One message on many ways: what fails on one of them, and detours that cannot be taken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hivebus import registry
from hivebus.bus import Bus
from hivebus.errors import Conflict, HivebusError, QueueFull, Unsupported
from hivebus.memory.transport import MemoryTransport
from hivebus.transport import ROUTES, Capabilities, Directory, Endpoint, Entry, Outgoing, Published, Publisher

from .flaky import FlakyTransport, Publish, Results, Serving


class Postbox(Publisher, Directory):
    """Keeps a directory, tells who reads, and can take nothing back."""

    def __init__(self, routes: dict[str, dict[str, object]]) -> None:
        self._routes = {name: Entry(value, 1) for name, value in routes.items()}
        self.inboxes: list[str] = []

    async def connect(self) -> Capabilities:
        return Capabilities()

    async def close(self) -> None:
        pass

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published]:
        self.inboxes += [item.inbox for item in batch]
        return [Published("stored", readers=0, routes=1) for _ in batch]

    async def changes(self) -> int:
        return 1

    async def read(self, kind: str) -> dict[str, Entry]:
        return self._routes if kind == ROUTES else {}

    async def write(self, *args: object, **options: object) -> int:
        raise Conflict("read only")


def refuses(inbox: str, error: HivebusError) -> object:
    async def trouble(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        return [error if item.inbox == inbox else Published("stored") for item in batch]

    return trouble


async def test_where_nothing_can_be_taken_back_mail_stays_with_who_is_gone() -> None:
    postbox = Postbox({"gone": {"fallback": "deputy", "fallback_after": 1}, "old": {"moved_to": "new"}})
    async with Bus("memory://", agent="pm", plugins=[Serving(postbox)]) as bus:
        assert "cannot take a message back" in (await bus.send("gone", "x")).notes[-1]
        await bus.send("old", "x")
        assert postbox.inboxes == ["gone", "new"]


async def test_a_rename_that_turns_out_meanwhile_is_followed_also_where_nothing_can_be_taken_back() -> None:
    postbox = Postbox({"old": {"moved_to": "new"}})
    async with Bus("memory://", agent="pm", plugins=[Serving(postbox)]) as bus:
        assert (await bus.send("old", "x")).notes[-1] == "old was renamed: it went to new"
        assert postbox.inboxes == ["old", "new"]


async def test_what_is_no_refusal_of_a_copy_is_an_error_of_the_send() -> None:
    transport = FlakyTransport(troubles=[refuses("audit", Unsupported("not this"))])  # type: ignore[list-item]
    async with (
        Bus("memory://", agent="audit", subscriptions=["agent.#"]),
        Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus,
    ):
        await bus._sending._guiding.catch_up(1)
        with pytest.raises(Unsupported, match="not this"):
            await bus.send("dev", "x")


async def test_a_fallback_that_refuses_is_an_error_and_sending_again_takes_the_same_way() -> None:
    async def full(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        return [QueueFull("deputy is full") for _ in batch]

    async def plain(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        return await publish(batch)

    transport = FlakyTransport(troubles=[plain, full])
    async with (
        Bus("memory://", agent="gone", fallback="deputy", fallback_after=1),
        Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus,
    ):
        with pytest.raises(QueueFull, match="deputy"):
            await bus.send("gone", "x", message_id="m-1")
        assert (await bus.send("gone", "x", message_id="m-1")).state == "stored"
        assert ((await bus.queue("gone")).waiting, (await bus.queue("deputy")).waiting) == (0, 1)


async def test_who_was_faster_keeps_its_message() -> None:
    async def takes_it(publish: Publish, batch: Sequence[Outgoing]) -> Results:
        answers = await publish(batch)
        async with Bus("memory://", agent="gone") as gone:
            assert await gone.take()
        return answers

    transport = FlakyTransport(troubles=[takes_it])
    async with (
        Bus("memory://", agent="gone", fallback="deputy", fallback_after=1),
        Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus,
    ):
        receipt = await bus.send("gone", "x")
        assert (await bus.status(receipt.message_id)).recipients.keys() == {"gone"}


async def test_an_agent_that_comes_back_while_it_is_pruned_keeps_its_subscriptions() -> None:
    class Returning(MemoryTransport):
        async def write(self, kind: str, name: str, value: object, **options: object) -> int:
            if value is None:
                raise Conflict("it is back")
            return await super().write(kind, name, value, **options)  # type: ignore[arg-type]

    transport = Returning(Endpoint(url="memory://"))
    await transport.connect()
    await registry.subscribe(transport, "audit", ["agent.#"])
    await registry.prune(transport)
    assert list(await transport.read(ROUTES)) == ["audit"]


async def test_who_never_succeeds_to_change_an_agent_is_told() -> None:
    with pytest.raises(Conflict):
        await registry.subscribe(Postbox({}), "audit", ["agent.#"])
