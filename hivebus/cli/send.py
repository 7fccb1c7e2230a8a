"""`hivebus send`: one process per message, so nothing here imports more than the message needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hivebus.cli.app import App
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, line, table
from hivebus.cli.saying import (
    SayCommand,
    about_options,
    beside_options,
    content_of,
    json_object,
    recipients_of,
    text_or_data,
)

if TYPE_CHECKING:
    from datetime import datetime

    from hivebus.receipt import Receipt


def _moment(value: str) -> datetime:
    """Read what --at says; whether it has a time zone is checked with the message."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} must be a time such as 2026-11-23T12:00:00Z") from None


@command(
    "send",
    cls=SayCommand,
    examples=[
        'hivebus send pm-agent "The login page is done" --agent frontend-agent',
        "git diff | hivebus send reviewer - --type task_assignment --priority high --ttl 2h",
    ],
)
@click.argument("to")
@text_or_data("Send")
@about_options("information_share")
@click.option("--delay", type=duration_type(), help="Queue it that much later.")
@click.option("--at", "at", type=_moment, metavar="TIME", help="Queue it then, such as 2026-11-23T12:00:00Z.")
@click.option("--id", "message_id", metavar="ID", help="Your own id: sending it twice is one message.")
@click.option("--correlation-id", metavar="ID", help="The id of the message that this one answers.")
@click.option("--reply-to", metavar="AGENT", help="Who gets the replies.  [default: you]")
@click.option(
    "--max-retries", type=int, default=3, show_default=True, help="How often a failing handler gets it again."
)
@click.option("--retry-delay", type=duration_type(), default=30, show_default=True, help="Before the first of them.")
@click.option("--no-ack", is_flag=True, help="Settled when it is handed out: no lease, no second attempt.")
@beside_options
def send(
    app: App,
    *,
    to: str,
    text: str | None,
    data: str | None,
    message_type: str,
    priority: str,
    ttl: float | None,
    delay: float | None,
    at: datetime | None,
    message_id: str | None,
    correlation_id: str | None,
    reply_to: str | None,
    max_retries: int,
    retry_delay: float,
    no_ack: bool,
    context: str | None,
    metadata: str | None,
) -> None:
    """Send one message.

    TO is an agent, or a list of agents with commas. TEXT is taken verbatim; without it, or with -, the
    text is what comes on stdin. A TEXT that looks like an option goes behind --.

    A TIME for --at has a time zone, and is told by the server's clock; what is past is now. hivebus cancel
    takes a message back until somebody is handed it.

    It is stored when this command returns. On exit code 75 the outcome may be unknown: sending again with
    the same --id is safe. At redis+pubsub:// nothing is stored: --no-ack, and hivebus listen hears it, or nobody.
    """
    if at is not None and delay is not None:
        raise click.UsageError("give --at or --delay, not both")
    content = content_of(text, data, limit=app.settings.max_message)
    from hivebus import sync

    recipients = recipients_of(app, to)
    from_agent = app.agent
    app.name_server()
    receipt = sync.send(
        recipients,
        content,
        from_agent=from_agent,
        url=app.settings.url,
        namespace=app.settings.namespace,
        message_type=message_type,
        priority=priority,
        ttl=ttl,
        delay=delay or 0,
        at=at,
        message_id=message_id,
        correlation_id=correlation_id,
        reply_to=reply_to and app.settings.name_of(reply_to),
        max_retries=max_retries,
        retry_delay=retry_delay,
        require_ack=not no_ack,
        context=json_object(context, field="body.context"),
        metadata=json_object(metadata, field="body.metadata"),
    )
    _print(app, recipients, receipt)


def _print(app: App, to: str | list[str], receipt: Receipt) -> None:
    for note in receipt.notes:
        app.note(f"note: {note}")
    facts = {
        "message_id": receipt.message_id,
        "to_agent": to,
        "state": receipt.state,
        "evidence": receipt.evidence,
        "legs": dict(receipt.legs),
    }
    if app.as_json:
        document("send", facts)
        return
    names = to if isinstance(to, str) else ",".join(to)
    if not sys.stdout.isatty():
        table([], [[receipt.message_id, names, receipt.state, receipt.evidence]])
        return
    line(f"sent {receipt.message_id} to {names} ({_outcome(receipt)})")
    if receipt.heard is None:
        app.note(f"follow it: hivebus trace {receipt.message_id}")


def _outcome(receipt: Receipt) -> str:
    if receipt.heard is not None:
        return f"not kept, at most {receipt.heard} listening" if receipt.heard else "not kept, nobody listening"
    return f"{receipt.state}, {receipt.durability}" if receipt.durability else receipt.state
