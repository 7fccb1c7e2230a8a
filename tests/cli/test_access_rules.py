"""The access rules of `docs/access.md`, as they stand there, on servers of both kinds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from hivebus.bus import Bus
from hivebus.errors import NotPermitted
from hivebus.message import Message

from ..streams.own_server import DURABLE, OwnServer
from .conftest import Cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "access.md").read_text()
FUNCTIONS = ROOT / "plugins" / "hivebus_redis" / "functions"
PATIENCE = 20.0
MANY = 200
NOT_GRANTED = {"config|get", "client|setinfo", "function|list"}
"""What an agent asks for all the same, and does without."""


def rules(user: str) -> list[list[str]]:
    """Return what the page grants a user, line by line."""
    return [line.split() for line in re.findall(rf"^ACL SETUSER {user} (.*)$", PAGE, flags=re.MULTILINE)]


def optional() -> set[str]:
    """Return the rights of which the page says what is missing without them."""
    table = PAGE.partition("| right | without it |")[2].partition("\n\n")[0]
    return {right for row in re.findall(r"^\| `(.*?)` \|", table, flags=re.MULTILINE) for right in spelt(row)}


def spelt(words: str) -> list[str]:
    return [word.removeprefix("+").replace("\\", "") for word in words.split()]


class Guarded:
    """A server with the users of the page."""

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self.admin: Any = server.client()
        self.grant("hb-agent")
        self.grant("hb-operator")

    def grant(self, user: str, *, but: str = "", also: str = "") -> None:
        """Give a user what the page gives it, *but* one right, and *also* another."""
        for line in rules(user):
            self.admin.execute_command("ACL", "SETUSER", user, *(word for word in line if word != f"+{but}"))
        if also:
            self.admin.execute_command("ACL", "SETUSER", user, also)

    def url(self, user: str) -> str:
        return f"unix://{user}:PASSWORD@{self._server.socket}"

    def bus(self, agent: str, **options: Any) -> Bus:
        return Bus(self.url("hb-agent"), agent=agent, namespace="hb", **options)

    def refused(self) -> set[str]:
        """Return what the server has refused since it was asked last."""
        rows = self.admin.execute_command("ACL", "LOG")
        self.admin.execute_command("ACL", "LOG", "RESET")
        return {str(row["object"]) for row in rows}


@pytest.fixture(params=["redis", "valkey"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    server = OwnServer(request.getfixturevalue(f"{request.param}_program"), *DURABLE)
    server.start()
    made = Guarded(server)
    yield made
    made.admin.close()
    server.remove()


async def a_day_of_work(guarded: Guarded) -> None:
    """Do all that agents do: send, receive, ack, retry, reject, ask, broadcast, and what belongs to it."""
    async with (
        guarded.bus("pm-agent", fallback="qa") as pm,
        guarded.bus("dev", pools=["crew"], subscriptions=["agent.qa.#"], lease=2) as dev,
    ):
        handled: list[Any] = []

        @dev.on("question")
        async def answer(message: Message) -> str:
            return "yes"

        @dev.on("flaky")
        async def fail_once(message: Message) -> None:
            handled.append(message.content)
            if handled.count(message.content) == 1:
                raise RuntimeError("not yet")

        @dev.on(once=True)
        async def keep(message: Message) -> dict[str, bool]:
            handled.append(message.content)
            return {"done": True}

        running = asyncio.create_task(dev.run(signals=False))
        await pm.send("dev", "again", message_type="flaky", retry_delay=0.05)
        await pm.send("dev", "in time", ttl=60)
        await pm.send("dev", "later", delay=0.1)
        await pm.send("@crew", "to one of them")
        await pm.send("qa", "a copy of it")
        first = await pm.send("dev", "first")
        assert first.state == "stored"
        assert (await pm.ask("dev", "ready?", timeout=PATIENCE)).content == "yes"
        assert await pm.broadcast("to all", agents=["dev"], wait="acked", timeout=PATIENCE)
        wanted = {"again", "in time", "later", "to one of them", "a copy of it", "first", "to all"}
        await eventually(lambda: wanted <= set(handled) and handled.count("again") == 2, what=lambda: handled)
        dev.stop()
        await running
        assert (await pm.status(first.message_id)).state == "acknowledged"
        assert "first" in [each.content async for each in pm.history("dev", since="1h")]
        assert (await pm.replay("dev", since="1h", ids=[first.message_id])).messages == 1
        async for handed in dev.consume():
            await handed.extend()
            await handed.reject("enough")
            break
        assert (await pm.queue("dev")).dead == 1
        assert await pm.cancel((await pm.send("qa", "taken back", delay=60)).message_id)
        assert (await pm.notify("dev", "said by the way")).heard == 0


async def eventually(condition: Callable[[], bool], *, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {what()}"
        await asyncio.sleep(0.01)


async def takes_many(guarded: Guarded) -> None:
    """Let many messages wait, and take all of them."""
    left = {str(number) for number in range(MANY)}
    async with guarded.bus("pm-agent") as pm, guarded.bus("dev") as dev:
        sent = [
            Message(from_agent="pm-agent", to_agent="dev", message_id=each, body={"content": each}) for each in left
        ]
        assert not [each for each in await pm.send_many(sent) if isinstance(each, Exception)]

        @dev.on()
        async def take(message: Message) -> None:
            left.discard(message.message_id)

        running = asyncio.create_task(dev.run(signals=False))
        await eventually(lambda: not left, what=lambda: left)
        dev.stop()
        await running


# --- The lines as they stand there -----------------------------------------------------------------------


async def test_an_agent_can_do_all_that_agents_do(guarded: Guarded, offline: Cli) -> None:
    await a_day_of_work(guarded)
    await takes_many(guarded)
    url = ("--url", guarded.url("hb-agent"))
    offline.ok("send", "ops", "from a shell", "-a", "pm-agent", *url)
    [taken] = offline.ok("receive", "-a", "ops", "--jsonl", *url).lines
    offline.ok("ack", taken["message"]["message_id"], "-a", "ops", *url)
    offline.ok("doctor", *url)
    offline.ok("queues", "trim", "--older-than", "0", "--max-bytes", "1", "--yes", *url)
    assert guarded.refused() <= NOT_GRANTED


def test_an_operator_examines_attests_and_trims_and_does_no_more(guarded: Guarded, offline: Cli) -> None:
    url = ("--url", guarded.url("hb-operator"))
    agent = {"HIVEBUS_URL": guarded.url("hb-agent"), "HIVEBUS_DURABILITY": "fsync"}
    assert offline("send", "ops", "x", "-a", "pm-agent", env=agent).code == 78, "nobody has attested it"

    offline.ok("doctor", "--attest", "--yes", *url)
    offline.ok("send", "ops", "x", "-a", "pm-agent", env=agent)
    offline.ok("receive", "-a", "ops", "--ack", *url)
    offline.ok("queues", "trim", "--older-than", "0", "--yes", *url)
    assert guarded.refused() <= NOT_GRANTED

    with redis.Redis.from_url(guarded.url("hb-operator")) as client:
        for words in (["CONFIG", "SET", "maxmemory", "1"], ["FLUSHALL"], ["KEYS", "*"], ["GET", "other:key"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_the_lines_grant_what_functions_call_and_little_more() -> None:
    called: set[str] = set()
    for file in FUNCTIONS.glob("*.lua"):
        code = re.sub(r"^\s*--.*", "", file.read_text(), flags=re.MULTILINE)
        for first, second in re.findall(r"redis\.p?call\(([^,)]*)(?:, '([A-Z]+)')?", code):
            names = re.findall(r"'([A-Z]+)'", first)
            assert names, f"{file.name} calls what only it knows: {first}"
            called |= {f"{name}|{second}" if name in ("XGROUP", "XINFO", "MEMORY") else name for name in names}
    granted = {right for line in rules("hb-agent") for right in spelt(" ".join(line)) if right[0].isalpha()}
    granted -= {"reset", "on", "resetchannels"}

    sent = {"fcall", "xread", "function|load", "watch", "multi", "exec", "ping", "publish", "psubscribe"}
    assert granted == {each.lower() for each in called} | sent


# --- Saboteurs: a right less -----------------------------------------------------------------------------


@pytest.mark.parametrize("right", ["fcall", "time", "exists", "get", "hset", "xadd"])
def test_saboteur_without_a_right_that_messages_need_sending_is_not_permitted(
    guarded: Guarded, offline: Cli, right: str
) -> None:
    guarded.grant("hb-agent", but=right)
    answer = offline("send", "dev", "x", "-a", "pm-agent", "--url", guarded.url("hb-agent"))
    assert answer.code == 77 and "an access rule of the server forbids it" in answer.err
    assert guarded.refused() == {right}


@pytest.mark.parametrize("right", ["hset", "zadd", "sadd"])
async def test_saboteur_without_a_right_that_messages_need_a_bus_is_not_permitted(guarded: Guarded, right: str) -> None:
    guarded.grant("hb-agent", but=right)
    with pytest.raises(NotPermitted, match="an access rule of the server forbids it"):
        await a_day_of_work(guarded)
    assert right in guarded.refused()


async def test_saboteur_of_another_namespace_nothing_is_permitted(guarded: Guarded) -> None:
    with pytest.raises(NotPermitted):
        async with Bus(guarded.url("hb-agent"), agent="pm-agent", namespace="hbx") as bus:
            await bus.send("dev", "x")
    assert not guarded.admin.keys("hbx:*")


# --- Saboteurs: what goes without an optional right ---------------------------------------------------------


async def no_load(guarded: Guarded, offline: Cli) -> None:
    with pytest.raises(NotPermitted):
        await a_day_of_work(guarded)
    offline.ok("queues", "--url", guarded.url("hb-operator"))
    await a_day_of_work(guarded)


async def no_sleep(guarded: Guarded, offline: Cli) -> None:
    await a_day_of_work(guarded)
    async with guarded.bus("dev") as dev:
        running = asyncio.create_task(dev.run(signals=False))
        await asyncio.sleep(0.2)
        before = guarded.admin.info("commandstats")["cmdstat_fcall"]["calls"]
        await asyncio.sleep(1.0)
        # Of itself, and not of whoever else is there: one that did not pause made thousands.
        assert guarded.admin.info("commandstats")["cmdstat_fcall"]["calls"] - before <= 60
        dev.stop()
        await running


async def no_transaction(guarded: Guarded, offline: Cli) -> None:
    await takes_many(guarded)
    await a_day_of_work(guarded)


async def no_info(guarded: Guarded, offline: Cli) -> None:
    await a_day_of_work(guarded)
    assert offline("doctor", "--url", guarded.url("hb-agent")).code == 77
    offline.ok("doctor", "--attest", "--yes", "--url", guarded.url("hb-operator"))
    async with guarded.bus("pm-agent") as bus:
        assert (await bus.send("dev", "x")).durability == "memory"


async def no_usage(guarded: Guarded, offline: Cli) -> None:
    await a_day_of_work(guarded)
    trim = ("queues", "trim", "--max-bytes", "1", "--dry-run", "--url")
    assert offline(*trim, guarded.url("hb-agent")).code == 77
    offline.ok(*trim, guarded.url("hb-operator"))


async def no_notices(guarded: Guarded, offline: Cli) -> None:
    async with guarded.bus("pm-agent") as bus:
        assert (await bus.send("dev", "x")).state == "stored"
        with pytest.raises(NotPermitted):
            await bus.notify("dev", "x")


async def no_listening(guarded: Guarded, offline: Cli) -> None:
    guarded.grant("hb-agent", but="psubscribe", also="&hb:agent.dev.*")
    async with guarded.bus("pm-agent") as bus:
        assert (await bus.notify("dev", "x")).heard == 0
        with pytest.raises(NotPermitted):
            await anext(bus.listen("agent.dev.*"))


GOES_ON: dict[str, Callable[[Guarded, Cli], Any]] = {
    "xread": no_sleep,
    "function|load": no_load,
    "watch": no_transaction,
    "multi": no_transaction,
    "exec": no_transaction,
    "info": no_info,
    "memory|usage": no_usage,
    "ping": no_notices,
    "publish": no_notices,
    "psubscribe": no_listening,
}


@pytest.mark.parametrize("right", GOES_ON)
async def test_saboteur_without_an_optional_right_only_that_is_missing_which_the_page_says(
    guarded: Guarded, offline: Cli, right: str
) -> None:
    guarded.grant("hb-agent", but=right)
    await GOES_ON[right](guarded, offline)
    assert right in guarded.refused()


def test_the_page_says_of_each_optional_right_what_is_missing_without_it() -> None:
    assert optional() == set(GOES_ON) == set(spelt(" ".join(rules("hb-agent")[-1])))


async def test_a_pattern_is_listened_to_where_the_rules_have_it_literally(guarded: Guarded) -> None:
    async with guarded.bus("pm-agent") as bus:
        with pytest.raises(NotPermitted):
            await anext(bus.listen("agent.dev.*"))
    guarded.grant("hb-agent", also="&hb:agent.dev.*")
    async with guarded.bus("pm-agent") as bus:
        heard = asyncio.create_task(anext(bus.listen("agent.dev.*")))
        async with asyncio.timeout(PATIENCE):
            while not (await bus.notify("dev", "hello")).heard:
                await asyncio.sleep(0.01)
            assert (await heard).content == "hello"
