"""`hivebus reply`: answers a message of the agent's inbox, and settles it in the same step where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hivebus.address import owner_of
from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.link import Link, connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, line, table, warn
from hivebus.cli.pooling import find_held
from hivebus.cli.saying import SayCommand, content_of, text_or_data
from hivebus.cli.settle import Verb, check_holder, settle_one
from hivebus.errors import InvalidMessage, NotFound, Refused
from hivebus.transport import Ack, Located, Outgoing

if TYPE_CHECKING:
    from hivebus.message import Message


@command(
    "reply",
    cls=SayCommand,
    examples=[
        'hivebus reply 1f0c "A partial index on status" --ack',
        "pytest 2>&1 | hivebus reply 1f0c - --type task_completion",
    ],
)
@click.argument("message_id", metavar="ID")
@text_or_data("Answer with")
@click.option("--type", "message_type", metavar="TYPE", help="What it is about.  [default: as the message asks for]")
@click.option("--ack", is_flag=True, help="Say as well that the message is done: both happen, or neither.")
def reply(
    app: App, *, message_id: str, text: str | None, data: str | None, message_type: str | None, ack: bool
) -> ExitCode:
    """Answer a message, in its conversation.

    ID is that of a message that you hold or that waits for you, or the beginning of one. The answer goes to whoever
    the message names for replies, which is its sender otherwise. It does not settle the message: hivebus ack does,
    or --ack here, for a message that you hold.

    A message is answered once: a second answer of yours is not sent, and the command says so. To say more, use
    hivebus send with --correlation-id.
    """
    content = content_of(text, data, limit=app.settings.max_message)
    return run(_reply(app, message_id, content, message_type=message_type, ack=ack))


async def _reply(app: App, message_id: str, content: Any, *, message_type: str | None, ack: bool) -> ExitCode:
    agent = app.agent
    async with connect(app) as link:
        [place] = await find_held(link, [message_id], agent)
        message = _message(link, place)
        if ack:
            return await _reply_and_ack(app, link, place, message, content, message_type=message_type)
    return await _only_reply(app, message, content, message_type=message_type)


async def _only_reply(app: App, message: Message, content: Any, *, message_type: str | None) -> ExitCode:
    from hivebus.bus import Bus

    async with Bus(app.settings.url, agent=app.agent, namespace=app.settings.namespace) as bus:
        receipt = await bus.reply(message, content, message_type=message_type)
    for note in receipt.notes:
        app.note(f"note: {note}")
    _print(app, message, reply_id=receipt.message_id, state=receipt.state)
    return ExitCode.OK


async def _reply_and_ack(
    app: App, link: Link, place: Located, message: Message, content: Any, *, message_type: str | None
) -> ExitCode:
    item, *copies = await _composed(app, link, message, content, message_type=message_type)
    travels = bool(link.capabilities.atomic_reply)
    verb = Verb(
        name="ack",
        done="acknowledged",
        settlement=lambda link, place, token: Ack(token, reply=item if travels else None),
    )
    check_holder(place, verb, app.agent)
    # The answer to an ack does not tell whether the reply in it was known.
    state = "duplicate" if await _is_known(link, item) else "stored"
    # First, since nobody would answer a message that is settled already.
    await _publish(link, copies if travels else [item, *copies], addressed=item)
    outcome = await settle_one(link, place, verb)
    if outcome != "done":
        warn(f"{place.message_id}: the lease ran out meanwhile, somebody else decides ({outcome})")
        return ExitCode.CHECK_FAILED
    _print(app, message, reply_id=item.message_id, state=state, settled="acknowledged")
    return ExitCode.OK


async def _is_known(link: Link, item: Outgoing) -> bool:
    inboxes = dict.fromkeys((item.inbox, owner_of(item.inbox)))
    return bool(await link.inspectable(to="find messages").locate([item.message_id], list(inboxes)))


async def _composed(
    app: App, link: Link, message: Message, content: Any, *, message_type: str | None
) -> list[Outgoing]:
    """Return the reply, and a copy of it for each who has subscribed."""
    from hivebus.guiding import Guiding
    from hivebus.message import message_of
    from hivebus.replies import compose_reply
    from hivebus.routing import route

    envelope = compose_reply(message, content, from_agent=app.agent, message_type=message_type)
    data = link.codec.encode(message_of(envelope))
    guiding = Guiding(link.transport)
    await guiding.confirm()
    way = await guiding.find(envelope.heading)
    return route(
        envelope.heading, way.inboxes, message_id=envelope.message_id, ttl=envelope.terms.ttl, delay=0, data=data
    )


async def _publish(link: Link, items: Sequence[Outgoing], *, addressed: Outgoing) -> None:
    """Publish a reply; a subscriber whose inbox is full goes without its copy."""
    for item, result in zip(items, await link.transport.publish(items) if items else [], strict=True):
        if isinstance(result, Exception) and (item is addressed or not isinstance(result, Refused)):
            raise result


def _message(link: Link, place: Located) -> Message:
    message = link.message(place.data)
    if isinstance(message, InvalidMessage):
        raise NotFound(
            f"what {place.message_id} says is not known, so nobody can answer it",
            cause="it was settled, and is not kept any more" if place.data is None else message.what,
            hint=f"hivebus send AGENT TEXT --correlation-id {place.message_id}",
        )
    return message


def _print(app: App, message: Message, *, reply_id: str, state: str, settled: str | None = None) -> None:
    import sys

    to = _recipient(message)
    if app.as_json:
        facts = {"message_id": reply_id, "to_agent": to, "correlation_id": message.message_id, "state": state}
        document("reply", {**facts, **({"settled": settled} if settled else {})})
    elif sys.stdout.isatty():
        line(f"answered {message.message_id} to {owner_of(to)} ({state}{f', {settled}' if settled else ''})")
    else:
        table([], [[reply_id, to, state, settled]])
    if state == "duplicate":
        warn(
            f"you have answered {message.message_id} before, so this was not sent; to say more:"
            f" hivebus send {owner_of(to)} TEXT --correlation-id {message.message_id}"
        )


def _recipient(message: Message) -> str:
    return message.reply_to or message.from_agent
