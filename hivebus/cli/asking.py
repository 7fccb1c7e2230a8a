"""Asks before something is changed, where somebody can be asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout

import click

from hivebus.cli.app import App


def ask(app: App, question: str, *, what: str, show: Callable[[], None]) -> None:
    """Return when the answer is yes.

    Args:
        question: what is asked; what: says what would change, where nobody can be asked.
        show: prints what the question is about.

    Raises:
        click.UsageError: nobody can be asked, and --yes was not given.
    """
    if app.as_json or not sys.stdin.isatty():
        raise click.UsageError(f"this would {what}, and nobody can be asked: add --yes, or --dry-run")
    # A question is no data, and neither is what it is about.
    with redirect_stdout(sys.stderr):
        show()
    click.confirm(question, abort=True, err=True)
