"""`hivebus plugins`: what is installed, and whether a transport keeps its promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hivebus import plugin_index
from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.link import run
from hivebus.cli.options import command, group
from hivebus.cli.output import document, line, table
from hivebus.settings import masked

if TYPE_CHECKING:
    from hivebus.testing import Report


@group("plugins", examples=["hivebus plugins list", "hivebus plugins check redis://localhost:6379"])
def plugins() -> None:
    """List plugins, and check what a transport promises."""


@command("list", bus=False, examples=["hivebus plugins list", "hivebus plugins list --json"])
def list_plugins(app: App) -> ExitCode:
    """List what is installed; a plugin that could not be loaded is named with the reason.

    Starts and contacts no server.
    """
    found = plugin_index.read().plugins
    if app.as_json:
        document("plugins.list", {"plugins": [each._asdict() for each in found]})
    else:
        rows = [(each.name, each.version, each.module, each.error or "ok") for each in found]
        table(("NAME", "VERSION", "MODULE", "STATE"), rows)
    return ExitCode.CHECK_FAILED if any(each.error for each in found) else ExitCode.OK


@command("check", examples=["hivebus plugins check redis://localhost:6379", "hivebus plugins check memory:// --json"])
@click.argument("target", metavar="[URL]", required=False)
@click.option("--only", metavar="CHECK", multiple=True, help="Run this check alone; may be repeated.")
def check(app: App, *, target: str | None, only: tuple[str, ...]) -> ExitCode:
    """Run the conformance checks against the transport of a URL.

    They write to inboxes of their own. A promise that is declared and broken: exit code 1.
    """
    if target:
        app.flags = {**app.flags, "url": target}
    app.name_server()
    # Imported here, because the checks are a package of their own weight.
    from hivebus.testing import check as run_checks

    report = run(run_checks(app.settings.endpoint(), only=only or None))
    if app.as_json:
        document("plugins.check", _facts(report))
    else:
        line(report.render())
    return ExitCode.OK if report.ok else ExitCode.CHECK_FAILED


def _facts(report: Report) -> dict[str, Any]:
    checks = [
        {"name": each.name, "verdict": each.verdict, "detail": each.detail, "proves": list(each.proves)}
        for each in report.outcomes
    ]
    return {"subject": masked(report.subject), "ok": report.ok, "checks": checks}


plugins.add_command(list_plugins)
plugins.add_command(check)
