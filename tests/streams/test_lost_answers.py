"""The line breaks after the server has done its work and before its answer arrives: nothing is doubled or lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from hivebus.errors import Unknown
from hivebus.message import Message
from hivebus.transport import Ack, DeadLetter, Endpoint, Extend, Retry, Settlement, Start
from hivebus_redis.one_shot import redis_one_shot
from hivebus_redis.reader import StreamReader

from .proxy import Proxy
from .room import PATIENCE, Room, ids, outgoing, publish, settle, take

Change = Callable[..., None]

# --- The answer to a sender -----------------------------------------------------------------------


async def send_and_lose_the_answer(room: Room, proxy: Proxy, *, times: int = 1) -> str:
    """Send one message over a line that breaks; return what the sender was told."""
    async with room.bus("sender", proxy.url) as bus:
        proxy.lose_answers_to("publish", times=times)
        receipt = await bus.send("pm", "hello")
    assert proxy.lost == times
    return receipt.state


async def test_a_message_whose_answer_is_lost_is_stored_once(redis_room: Room, proxy: Proxy) -> None:
    assert await send_and_lose_the_answer(redis_room, proxy) == "duplicate"
    assert len(redis_room.entries()) == 1


async def test_it_is_stored_once_however_often_the_line_breaks(redis_room: Room, proxy: Proxy) -> None:
    assert await send_and_lose_the_answer(redis_room, proxy, times=4) == "duplicate"
    assert len(redis_room.entries()) == 1


async def test_saboteur_without_the_look_at_known_ids_it_is_stored_twice(
    redis_room: Room, proxy: Proxy, change_library: Change
) -> None:
    change_library(("if is_known[key] then", "if false then"))

    assert await send_and_lose_the_answer(redis_room, proxy) == "stored"
    assert len(redis_room.entries()) == 2


async def test_a_hundred_senders_over_a_bad_line_store_a_hundred_messages(redis_room: Room, proxy: Proxy) -> None:
    async with redis_room.bus("sender", proxy.url) as bus:
        for _ in range(5):
            proxy.lose_answers_to("publish")
            await asyncio.gather(*(bus.send("pm", "hello") for _ in range(20)))

    stored = redis_room.entries()
    assert proxy.lost == 5 and len(stored) == len(set(stored)) == 100


def test_a_script_is_told_that_it_may_send_again_and_stores_once(redis_room: Room, proxy: Proxy) -> None:
    sender = redis_one_shot(Endpoint(url=proxy.url, namespace=redis_room.namespace))
    assert sender is not None
    sender.publish_once([outgoing("warm-up", inbox="other")])
    proxy.lose_answers_to("publish")

    with pytest.raises(Unknown, match="same message_id"):
        sender.publish_once([outgoing("m-1")])

    assert sender.publish_once([outgoing("m-1")])[0].state == "duplicate"
    assert redis_room.entries() == ["m-1"]


# --- The answer to a reader -----------------------------------------------------------------------


async def receive_and_lose_the_answer(room: Room, proxy: Proxy) -> StreamReader:
    """Let a reader take five messages that it never sees."""
    reader = await room.reader(await room.transport(proxy.url))
    await publish(await room.transport(), *(outgoing(f"m-{n}", priority=1 + n % 2) for n in range(5)))
    proxy.lose_answers_to("receive")
    with pytest.raises(Unknown):
        await reader.receive(limit=10, start=10, wait=1)
    assert proxy.lost == 1
    return reader


async def test_messages_in_a_lost_answer_are_found_again(redis_room: Room, proxy: Proxy) -> None:
    reader = await receive_and_lose_the_answer(redis_room, proxy)

    again = await take(reader, 5)

    assert ids(again) == ["m-1", "m-3", "m-0", "m-2", "m-4"]
    assert {(each.failures, each.crashes, each.alone) for each in again} == {(0, 0, False)}, "nobody is to blame"
    assert await reader.settle([Ack(each.token) for each in again]) == ["done"] * 5


@pytest.mark.parametrize("function", ["held", "settle"])
@pytest.mark.parametrize("what", ["calls", "answers"])
async def test_they_are_found_again_even_when_the_line_breaks_once_more(
    what: str, function: str, redis_room: Room, proxy: Proxy
) -> None:
    reader = await receive_and_lose_the_answer(redis_room, proxy)
    lose = proxy.lose_calls_of if what == "calls" else proxy.lose_answers_to
    lose(function)
    with pytest.raises(Unknown):
        await reader.receive(limit=10, start=10, wait=1)

    assert sorted(ids(await take(reader, 5, wait=3))) == ["m-0", "m-1", "m-2", "m-3", "m-4"]


async def test_what_is_held_is_not_taken_for_lost(redis_room: Room, proxy: Proxy) -> None:
    transport = await redis_room.transport(proxy.url)
    reader = await redis_room.reader(transport)
    await publish(transport, outgoing("held"))
    (held,) = await take(reader)
    await publish(transport, outgoing("lost"))
    proxy.lose_answers_to("receive")
    with pytest.raises(Unknown):
        await reader.receive(limit=10, start=10, wait=1)

    assert ids(await take(reader)) == ["lost"]
    assert await settle(reader, Ack(held.token)) == "done"


async def lose_the_lease_and_an_answer(room: Room, proxy: Proxy) -> StreamReader:
    """Let another one strike a reader off, and then let it take a message under its new epoch that it never sees."""
    reader = await room.reader(await room.transport(proxy.url), lease=0.2)
    heir = await room.reader(await room.transport(), consumer="heir")
    while room.redis.hexists(room.key("consumers"), "one"):
        # A server that has only just started leaves everybody alone for a lease.
        assert await take(heir, wait=0.1) == []
    assert await reader.receive(limit=10, start=10, wait=0) == []
    await publish(await room.transport(), outgoing("m-1"))
    proxy.lose_answers_to("receive")
    with pytest.raises(Unknown):
        await reader.receive(limit=10, start=10, wait=0)
    assert proxy.lost == 1
    return reader


async def test_what_is_lost_under_a_new_epoch_is_found_again(redis_room: Room, proxy: Proxy) -> None:
    reader = await lose_the_lease_and_an_answer(redis_room, proxy)

    (found,) = await take(reader, wait=2)

    assert (found.failures, found.crashes) == (0, 0)
    assert await settle(reader, Ack(found.token)) == "done"


async def test_saboteur_who_gives_it_back_under_the_old_epoch_never_sees_it(
    redis_room: Room, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamReader, "_note_epoch", lambda self, epoch: None)
    reader = await lose_the_lease_and_an_answer(redis_room, proxy)

    assert await take(reader, wait=0.3) == []


async def test_saboteur_a_reader_that_does_not_ask_what_it_holds_forgets_them(
    redis_room: Room, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(self: StreamReader) -> None:
        """Go on as if nothing had happened."""
        self._lost_reply = False

    monkeypatch.setattr(StreamReader, "_resynchronise", forget)
    reader = await receive_and_lose_the_answer(redis_room, proxy)

    assert await take(reader, wait=0.3) == []
    counts = (await (await redis_room.transport()).counts(["pm"]))[0]
    assert (counts.waiting, counts.in_flight) == (0, 5)


# --- The answer to a settlement -------------------------------------------------------------------------


async def settle_and_lose_the_answer(room: Room, proxy: Proxy, make: Callable[[str], Settlement]) -> str:
    """Settle over a line that breaks, and again as the bus does; return the second answer."""
    transport = await room.transport(proxy.url)
    reader = await room.reader(transport)
    await publish(transport, outgoing("m-1"), outgoing("m-2"))
    (delivery,) = await take(reader)
    proxy.lose_answers_to("settle")
    with pytest.raises(Unknown):
        await settle(reader, make(delivery.token))
    answer = await settle(reader, make(delivery.token))
    assert proxy.lost == 1
    return answer


async def test_an_ack_whose_answer_is_lost_holds(redis_room: Room, proxy: Proxy) -> None:
    assert await settle_and_lose_the_answer(redis_room, proxy, Ack) in ("done", "gone")
    reader = await redis_room.reader(await redis_room.transport(), consumer="heir")
    assert ids(await take(reader, 2, wait=0.2)) == ["m-2"]


async def test_an_ack_whose_answer_is_lost_sends_its_reply_once(redis_room: Room, proxy: Proxy) -> None:
    reply = outgoing("reply", inbox="asker")
    await settle_and_lose_the_answer(redis_room, proxy, lambda token: Ack(token, None, reply))

    assert redis_room.entries("asker") == ["reply"]


async def test_a_retry_whose_answer_is_lost_counts_one_failure(redis_room: Room, proxy: Proxy) -> None:
    answer = await settle_and_lose_the_answer(redis_room, proxy, lambda token: Retry(token, 0))

    assert answer == "stale", "the message is nobody's now"
    reader = await redis_room.reader(await redis_room.transport(), consumer="heir")
    assert [(each.attempt, each.failures) for each in await take(reader, 2)] == [(2, 1), (1, 0)]


async def test_a_rejection_whose_answer_is_lost_makes_one_dead_letter(redis_room: Room, proxy: Proxy) -> None:
    assert await settle_and_lose_the_answer(redis_room, proxy, lambda token: DeadLetter(token, "no")) == "gone"
    assert redis_room.redis.xlen(redis_room.key("dlq")) == 1


@pytest.mark.parametrize("make", [Extend, Start])
async def test_a_sign_of_life_whose_answer_is_lost_is_given_again(
    make: Callable[[str], Settlement], redis_room: Room, proxy: Proxy
) -> None:
    assert await settle_and_lose_the_answer(redis_room, proxy, make) == "done"


# --- All of it --------------------------------------------------------------------------------------------


async def test_a_bus_on_a_line_that_breaks_everywhere_loses_and_doubles_nothing(redis_room: Room, proxy: Proxy) -> None:
    seen: Counter[str] = Counter()
    async with redis_room.bus("pm", proxy.url) as bus:

        @bus.on()
        async def handle(message: Message) -> None:
            seen[message.content] += 1
            await asyncio.sleep(0)

        running = asyncio.create_task(bus.run())
        for n in range(30):
            proxy.lose_answers_to(("publish", "receive", "settle")[n % 3])
            await asyncio.gather(*(bus.send("pm", f"{n}-{m}") for m in range(10)))
        proxy.lose_answers_to("none", times=0)
        async with asyncio.timeout(PATIENCE):
            while len(seen) < 300 or (await bus.queue("pm")).in_flight:
                await asyncio.sleep(0.02)
        bus.stop()
        await running

    stored = redis_room.entries()
    assert proxy.lost >= 10 and len(stored) == len(set(stored)) == 300
    assert set(seen.values()) == {1}, "an answer that is lost before its handler runs doubles nothing"
