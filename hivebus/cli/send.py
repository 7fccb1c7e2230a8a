"""`hivebus send`: one process per message, so nothing here imports more than the message needs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from hivebus import limits
from hivebus.cli.app import App
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, line, table
from hivebus.errors import InvalidMessage

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


class SendCommand(click.Command):
    """Takes a TEXT that begins with a dash for what it is, wherever that is certain."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args*; an unknown option is an error that says how to send it as text."""
        try:
            return super().parse_args(ctx, self._text_last(args))
        except click.NoSuchOption as error:
            problem = click.UsageError(f"there is no option {error.option_name}", ctx=ctx)
            problem.hint = f"if {error.option_name} begins your text: hivebus send TO -- TEXT"  # type: ignore[attr-defined]
            raise problem from error

    def _text_last(self, args: list[str]) -> list[str]:
        """Return *args* with a text that cannot be an option behind ``--``: no option has a space in its name."""
        takes_value = {name for each in self.params for name in each.opts if not getattr(each, "is_flag", True)}
        for index, word in enumerate(args):
            if word == "--":
                break
            is_value = index > 0 and args[index - 1] in takes_value
            if not is_value and word.startswith("-") and any(map(str.isspace, word.partition("=")[0])):
                return [*args[:index], *args[index + 1 :], "--", word]
        return args


@command(
    "send",
    cls=SendCommand,
    examples=[
        'hivebus send pm-agent "The login page is done" --agent frontend-agent',
        "git diff | hivebus send reviewer - --type task_assignment --priority high --ttl 2h",
    ],
)
@click.argument("to")
@click.argument("text", required=False)
@click.option("--data", metavar="JSON", help="Send this JSON value instead of a text; - reads it from stdin.")
@click.option(
    "--type", "message_type", metavar="TYPE", default="information_share", show_default=True, help="What it is about."
)
@click.option(
    "--priority", metavar="LEVEL", default="medium", show_default=True, help="low, medium, high, urgent, emergency."
)
@click.option("--ttl", type=duration_type(), help="Expires when nobody took it by then.  [default: never]")
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
@click.option("--context", metavar="JSON", help="A JSON object beside the text.")
@click.option("--metadata", metavar="JSON", help="Another one.")
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


def recipients_of(app: App, to: str) -> str | list[str]:
    """Return the names in TO, their aliases resolved."""
    names = [app.settings.name_of(name) for name in to.split(",")]
    return names[0] if len(names) == 1 else names


def content_of(text: str | None, data: str | None, *, limit: int) -> Any:
    """Return what a message shall say: TEXT, a JSON value, or what comes on stdin."""
    if text is not None and data is not None:
        raise click.UsageError("give TEXT or --data, not both")
    if data is not None:
        return _json(_stdin(limit) if data == "-" else data, field="body.content")
    if text is not None and text != "-":
        return text
    if text is None and sys.stdin.isatty():
        raise click.UsageError("there is no TEXT, and nothing is piped in")
    read = _stdin(limit)
    if text is None and not read:
        raise click.UsageError("there is no TEXT, and nothing came on stdin")
    return read


def _stdin(limit: int) -> str:
    # One byte more than may travel is enough to know that it is too much.
    data = sys.stdin.buffer.read(limit + 1)
    limits.check_encoded(data, limit=limit)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage(
            field="body.content",
            value=data[error.start : error.start + 20],
            rule=f"must be UTF-8 text; byte {error.start} is not. Send a file's path, or its bytes as base64",
        ) from None


def json_object(text: str | None, *, field: str) -> dict[str, Any]:
    """Return the JSON object of an option, or raise `InvalidMessage`."""
    return {} if text is None else limits.check_mapping(_json(text, field=field), field=field)


def _json(text: str, *, field: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidMessage(field=field, value=text, rule=f"must be JSON: {error}") from None
    except RecursionError:
        raise InvalidMessage(field=field, value=text, rule="nests too deep for JSON", why="too_deep") from None
