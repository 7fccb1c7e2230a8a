"""Commands that change files of a project: their options, the diff, the question, the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hivebus.cli.app import App
from hivebus.cli.output import document, line, table

if TYPE_CHECKING:
    from hivebus.cli.changes import Change

Function = TypeVar("Function", bound=Callable[..., Any])


def changing(function: Function) -> Function:
    """Add the options of such a command: ``project``, ``dry_run`` and ``yes``."""
    for add in (
        click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked."),
        click.option("--dry-run", is_flag=True, help="Show the diff, and change nothing."),
        click.option(
            "--dir",
            "project",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default=".",
            metavar="PROJECT",
            help="The folder of the project.  [default: this one]",
        ),
    ):
        function = add(function)
    return function


def change(app: App, schema: str, changes: Sequence[Change], *, dry_run: bool, yes: bool) -> bool:
    """Show *changes*, ask where somebody can be asked, make them, and say so; tell whether anything was changed.

    Args:
        schema: the name of the command, for its JSON document.
    """
    from hivebus.cli.asking import ask
    from hivebus.cli.changes import apply

    work = [each for each in changes if each.action != "unchanged"]
    if work and not dry_run:
        if not yes:
            *names, last = [each.name for each in work]
            named = f"{', '.join(names)} and {last}" if names else last
            ask(app, f"Change {named}?", what=f"change {named}", show=lambda: _show_diff(work))
        apply(work)
    if app.as_json:
        document(schema, {"dry_run": dry_run, "changes": [_facts(each) for each in changes]})
    elif dry_run:
        _show_diff(work)
    else:
        table(("FILE", "CHANGE"), [(each.name, each.action) for each in changes])
    if not work:
        app.note("nothing to change")
    return bool(work) and not dry_run


def _show_diff(changes: Sequence[Change]) -> None:
    for each in changes:
        line(each.diff().rstrip("\n"))


def _facts(change: Change) -> dict[str, Any]:
    return {"file": change.name, "path": str(change.path), "action": change.action, "diff": change.diff()}
