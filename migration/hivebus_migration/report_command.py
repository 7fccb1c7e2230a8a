"""`hivebus migrate report`: which road delivered, message by message."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hivebus.cli.app import App
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document
from hivebus.settings import Settings, load
from hivebus_migration.comparison import DEADLINE
from hivebus_migration.facts import now
from hivebus_migration.report import Report, make_report


@command("report", examples=["hivebus migrate report", "hivebus migrate report --since 7d --agent pm-agent --md"])
@click.option("--since", type=duration_type(lowest=1), default="24h", show_default=True, help="How far back to look.")
@click.option(
    "--deadline",
    type=duration_type(lowest=0),
    default=f"{DEADLINE:g}s",
    show_default=True,
    help="After how long a message that was not seen is settled.",
)
@click.option("--md", "as_markdown", is_flag=True, help="Markdown, for an issue or a pull request.")
def report(app: App, *, since: float, deadline: float, as_markdown: bool) -> None:
    """Say which of two roads delivered, message by message.

    Of all agents; with --agent, of that one. Only the ledger is read: it works while Redis and tmux are
    down. The report ends with what it cannot tell; docs/compare.md explains each column.
    """
    if app.as_json and as_markdown:
        raise click.UsageError("--json and --md are two answers: give one of them")
    # The pane is not asked who we are: tmux may be what is broken.
    settings = load(app.flags)
    made = make_report(
        Path(settings.ledger_path()), since=since, deadline=deadline, now=now(), agent=_only(app, settings)
    )
    _show(app, made, as_markdown=as_markdown)


def _only(app: App, settings: Settings) -> str | None:
    # Only the flag narrows the report: an operator whose shell belongs to an agent still sees everything.
    return settings.agent if app.flags.get("agent") else None


def _show(app: App, made: Report, *, as_markdown: bool) -> None:
    if app.as_json:
        from hivebus_migration.report_json import report_facts

        document("migrate.report", report_facts(made))
        return
    if as_markdown:
        from hivebus_migration.report_markdown import report_markdown

        text = report_markdown(made)
    else:
        from hivebus_migration.report_text import report_text

        text = report_text(made)
    # Not through `line`: each part was made safe by itself, and Markdown has its own way.
    sys.stdout.write(f"{text}\n")
    if not made.comparison.messages:
        app.note("no message was sent over two roads in this window: --since 30d looks further back")
