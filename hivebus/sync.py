"""The bus for scripts: blocking functions that only delegate.

`send` takes the short road when the transport offers one: no event loop, no model, no client library.
Everything else opens a bus for the length of the call.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from hivebus import envelope as envelopes
from hivebus import limits, plugin_index, settings
from hivebus.due import check_at, delay_until
from hivebus.errors import ConfigError, HivebusError
from hivebus.receipt import Receipt
from hivebus.short_road import send_once
from hivebus.transport import OneShot

if TYPE_CHECKING:
    from datetime import datetime

    from hivebus.broadcasting import Broadcast, SendOptions
    from hivebus.bus import Bus
    from hivebus.cancelling import Cancellation
    from hivebus.message import Message
    from hivebus.message_status import Status

T = TypeVar("T")
GIVE_UP_AFTER = 10.0
"""Seconds for which a message is sent again before its sender is told."""


def send(
    to_agent: str | Sequence[str],
    content: Any,
    *,
    from_agent: str,
    url: str | None = None,
    namespace: str | None = None,
    message_type: str = envelopes.DEFAULT_TYPE,
    priority: str | int = envelopes.DEFAULT_PRIORITY,
    ttl: float | None = None,
    delay: float = 0,
    at: datetime | None = None,
    correlation_id: str | None = None,
    reply_to: str | None = None,
    context: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    require_ack: bool = True,
    max_retries: int = envelopes.DEFAULT_MAX_RETRIES,
    retry_delay: float = envelopes.DEFAULT_RETRY_DELAY,
    traceparent: str | None = None,
    message_id: str | None = None,
) -> Receipt:
    """Send one message; return once the server has it. The options are those of `Bus.send`.

    Raises:
        InvalidMessage, Refused: nothing was written.
        Unknown: the connection was lost; safe to send again with the same ``message_id``.
        Unavailable: no server answers.
    """
    _refuse_inside_a_loop("send")
    chosen = settings.load({"url": url, "namespace": namespace})
    envelope = envelopes.compose(
        from_agent=from_agent,
        to_agent=to_agent,
        content=content,
        message_type=message_type,
        priority=priority,
        ttl=ttl,
        context=context or {},
        metadata=metadata or {},
        require_ack=require_ack,
        max_retries=max_retries,
        retry_delay=retry_delay,
        correlation_id=correlation_id,
        reply_to=reply_to,
        traceparent=traceparent,
        message_id=message_id,
    )
    limits.check_delay(delay)
    if at is not None:
        check_at(at, delay=delay)
    sender = _one_shot(chosen)
    if sender is not None:
        if at is not None:
            delay = delay_until(check_at(at), now=_server_time(sender))
        receipt = send_once(sender, envelope, delay=delay, chosen=chosen, within=GIVE_UP_AFTER)
        if receipt is not None:
            return receipt
        at = None
    from hivebus.message import message_of

    message = message_of(envelope)
    return _with_bus(from_agent, chosen, lambda bus: bus.send_message(message, delay=delay, at=at))


def send_many(messages: Sequence[Message], *, url: str | None = None) -> list[Receipt | HivebusError]:
    """Send messages in batches; return one receipt or one error per message, in order."""
    _refuse_inside_a_loop("send_many")
    if not messages:
        return []
    chosen = settings.load({"url": url})
    return _with_bus(messages[0].from_agent, chosen, lambda bus: bus.send_many(messages))


def broadcast(
    content: Any,
    *,
    from_agent: str,
    agents: Sequence[str] | None = None,
    live_only: bool = False,
    wait: Literal["acked"] | None = None,
    timeout: float | None = None,
    url: str | None = None,
    namespace: str | None = None,
    **options: Unpack[SendOptions],
) -> Broadcast:
    """Send one message to everybody who is registered, or to *agents*; as `Bus.broadcast` does."""
    _refuse_inside_a_loop("broadcast")
    chosen = settings.load({"url": url, "namespace": namespace})
    return _with_bus(
        from_agent,
        chosen,
        lambda bus: bus.broadcast(content, agents=agents, live_only=live_only, wait=wait, timeout=timeout, **options),
    )


def reply(message: Message, content: Any, *, from_agent: str, url: str | None = None) -> Receipt:
    """Answer a message: to its ``reply_to``, in the same conversation."""
    _refuse_inside_a_loop("reply")
    return _with_bus(from_agent, settings.load({"url": url}), lambda bus: bus.reply(message, content))


def ask(
    to_agent: str | Sequence[str],
    content: Any,
    *,
    from_agent: str,
    timeout: float = 30.0,
    url: str | None = None,
    namespace: str | None = None,
    message_type: str = "question",
    priority: str | int = envelopes.DEFAULT_PRIORITY,
    ttl: float | None = None,
    correlation_id: str | None = None,
    context: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    message_id: str | None = None,
) -> Message:
    """Send a question to one agent, or to one member of a ``@pool``, and return the answer. As `Bus.ask`.

    Raises:
        NoAnswer: the question is stored, and no answer came so far; a late one goes to the inbox of *from_agent*.
        InvalidMessage, Refused, Unknown, Unavailable: as by `send`.
    """
    _refuse_inside_a_loop("ask")
    return _with_bus(
        from_agent,
        settings.load({"url": url, "namespace": namespace}),
        lambda bus: bus.ask(
            to_agent,
            content,
            timeout=timeout,
            message_type=message_type,
            priority=priority,
            ttl=ttl,
            correlation_id=correlation_id,
            context=context or {},
            metadata=metadata or {},
            message_id=message_id,
        ),
    )


def receive(agent: str, *, wait: float = 0.0, url: str | None = None) -> Message | None:
    """Take the next message of an agent and ack it at once; None when nothing came within *wait* seconds.

    For scripts that may lose a message when they crash; everything else uses ``Bus.consume``.
    """
    _refuse_inside_a_loop("receive")
    return _with_bus(agent, settings.load({"url": url}), lambda bus: bus.take(wait=wait))


def status(message_id: str, *, agent: str | None = None, url: str | None = None) -> Status:
    """Return what became of a message, from any process."""
    _refuse_inside_a_loop("status")
    return _with_bus("status", settings.load({"url": url}), lambda bus: bus.status(message_id, agent=agent))


def cancel(message_id: str, *, agent: str | None = None, url: str | None = None) -> Cancellation:
    """Take back what was not handed out yet, and say what happened; without *agent*, from every inbox."""
    _refuse_inside_a_loop("cancel")
    return _with_bus("cancel", settings.load({"url": url}), lambda bus: bus.cancel(message_id, agent=agent))


def _one_shot(chosen: settings.Settings) -> OneShot | None:
    if chosen.legacy_url is not None:
        return None  # it travels two roads, and the short one is only one of them
    if chosen.quota is not None:
        return None  # nobody counts on the short road
    index = plugin_index.read()
    scheme = index.scheme(chosen.url)
    if scheme is None:
        from hivebus.plugins import unknown_scheme

        raise unknown_scheme(chosen.url, sorted(each.name for each in index.schemes))
    if scheme.one_shot is None or index.alters_messages:
        return None
    made: OneShot | None = plugin_index.load(scheme.one_shot)(chosen.endpoint())
    # A level that was asked for and is not known to be given must be asked of the server.
    return made if made is not None and chosen.durability in (None, made.durability) else None


def _server_time(sender: OneShot) -> float | None:
    try:
        return sender.now()
    except HivebusError:
        return None  # the sending itself tells what is wrong


def _with_bus(agent: str, chosen: settings.Settings, act: Callable[[Bus], Awaitable[T]]) -> T:
    import asyncio

    from hivebus.bus import Bus

    url = chosen.url if chosen.has_url else None
    bus = Bus(url, agent=agent, namespace=chosen.namespace)
    if chosen.legacy_url is not None:
        return _before_it_is_closed(bus, act)

    async def call() -> T:
        async with bus:
            return await act(bus)

    return asyncio.run(call())


def _before_it_is_closed(bus: Bus, act: Callable[[Bus], Awaitable[T]]) -> T:
    """Return what was done as soon as it is done: a copy on the second road gets its time in the background."""
    import asyncio
    from concurrent.futures import Future
    from threading import Thread

    answer: Future[T] = Future()
    loop = asyncio.new_event_loop()
    calls: list[asyncio.Task[None]] = []

    async def call() -> None:
        async with bus:
            try:
                answer.set_result(await act(bus))
            except HivebusError as error:
                answer.set_exception(error)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            calls.append(loop.create_task(call()))
            runner.run(asyncio.wait(calls))
        if calls[0].cancelled() or (error := calls[0].exception()) is None:
            return
        if answer.done():
            raise error
        answer.set_exception(error)

    # No daemon: the end of the program waits for it, and it ends by itself.
    thread = Thread(target=run, name="hivebus-send")
    thread.start()
    try:
        return answer.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in calls])
        thread.join()
        raise


def _refuse_inside_a_loop(name: str) -> None:
    # Whoever has a running loop has imported asyncio; importing it here would cost every script 30 ms.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigError(
        f"hivebus.{name} blocks, and this code runs in an event loop",
        hint=f"async with hivebus.Bus(agent=...) as bus: await bus.{name}(...)",
    )
