"""What the commands share that say something: the TEXT, the options of a message, and how both are read."""

from __future__ import annotations

import sys
from typing import Any

import click

from hivebus import limits
from hivebus.cli.app import App
from hivebus.cli.options import Decorator, duration_type, together
from hivebus.errors import InvalidMessage

beside_options = together(
    click.option("--context", metavar="JSON", help="A JSON object beside the text."),
    click.option("--metadata", metavar="JSON", help="Another one."),
)
"""Adds these options; `json_object` reads them."""


class SayCommand(click.Command):
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


def text_or_data(verb: str) -> Decorator:
    """Add TEXT, and ``--data`` which stands for it; *verb* is what is done with them. `content_of` reads both."""
    return together(
        click.argument("text", required=False),
        click.option(
            "--data", metavar="JSON", help=f"{verb} this JSON value instead of a text; - reads it from stdin."
        ),
    )


def about_options(message_type: str) -> Decorator:
    """Add ``--type``, which is *message_type* by default, ``--priority`` and ``--ttl``."""
    return together(
        click.option(
            "--type", "message_type", metavar="TYPE", default=message_type, show_default=True, help="What it is about."
        ),
        click.option(
            "--priority",
            metavar="LEVEL",
            default="medium",
            show_default=True,
            help="low, medium, high, urgent, emergency.",
        ),
        click.option("--ttl", type=duration_type(), help="Expires when nobody took it by then.  [default: never]"),
    )


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


def json_object(text: str | None, *, field: str) -> dict[str, Any]:
    """Return the JSON object of an option, or raise `InvalidMessage`."""
    return {} if text is None else limits.check_mapping(_json(text, field=field), field=field)


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


def _json(text: str, *, field: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidMessage(field=field, value=text, rule=f"must be JSON: {error}") from None
    except RecursionError:
        raise InvalidMessage(field=field, value=text, rule="nests too deep for JSON", why="too_deep") from None
