"""`hivebus ask`: one question, and the answer to it on stdout."""

from __future__ import annotations

import click

from hivebus.cli.app import App
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, json_text, line
from hivebus.cli.saying import (
    SayCommand,
    about_options,
    beside_options,
    content_of,
    json_object,
    recipients_of,
    text_or_data,
)

DEFAULT_TIMEOUT = 30.0


@command(
    "ask",
    cls=SayCommand,
    examples=[
        'hivebus ask db-expert "Which index for the orders table?" --timeout 2m',
        "git diff | hivebus ask reviewer - --json | jq -r .answer.body.content",
    ],
)
@click.argument("to")
@text_or_data("Ask")
@click.option(
    "--timeout",
    type=duration_type(lowest=0),
    default=DEFAULT_TIMEOUT,
    help="Wait that long for the answer.  [default: 30s]",
)
@about_options("question")
@click.option("--id", "message_id", metavar="ID", help="Your own id for the question.")
@click.option("--correlation-id", metavar="ID", help="The id of the message that made you ask.")
@beside_options
def ask(
    app: App,
    *,
    to: str,
    text: str | None,
    data: str | None,
    timeout: float,
    message_type: str,
    priority: str,
    ttl: float | None,
    message_id: str | None,
    correlation_id: str | None,
    context: str | None,
    metadata: str | None,
) -> None:
    """Send a question, and print the answer.

    TO is one agent, or one @pool, of which one member answers. TEXT is taken verbatim; without it, or with -, it is
    what comes on stdin.

    No answer in time: exit code 75. The question stays where it is: what answers it later comes to your inbox, and
    hivebus trace shows it below the question.
    """
    content = content_of(text, data, limit=app.settings.max_message)
    from hivebus import sync

    from_agent = app.agent
    app.name_server()
    answer = sync.ask(
        recipients_of(app, to),
        content,
        from_agent=from_agent,
        timeout=timeout,
        url=app.settings.url,
        namespace=app.settings.namespace,
        message_type=message_type,
        priority=priority,
        ttl=ttl,
        message_id=message_id,
        correlation_id=correlation_id,
        context=json_object(context, field="body.context"),
        metadata=json_object(metadata, field="body.metadata"),
    )
    if app.as_json:
        from hivebus.cli.link import as_json

        document("ask", {"message_id": answer.correlation_id, "answer": as_json(answer)})
        return
    line(answer.content if isinstance(answer.content, str) else json_text(answer.content))
