"""`hivebus transports`: which URLs there are, and what the server behind one can do."""

from __future__ import annotations

from typing import Any

import click

from hivebus import plugin_index
from hivebus.cli.app import App
from hivebus.cli.link import connect, run
from hivebus.cli.options import command, group
from hivebus.cli.output import document, table
from hivebus.settings import masked
from hivebus.transport import Capabilities


@group("transports", examples=["hivebus transports list", "hivebus transports describe redis://localhost:6379"])
def transports() -> None:
    """List transports, and show what a server can do."""


@command("list", bus=False, examples=["hivebus transports list", "hivebus transports list --json"])
def list_transports(app: App) -> None:
    """List the URL schemes that are installed.

    Starts and contacts no server.
    """
    schemes = sorted(plugin_index.read().schemes, key=lambda scheme: scheme.name)
    if app.as_json:
        document(
            "transports.list", {"transports": [{"scheme": each.name, "summary": each.summary} for each in schemes]}
        )
        return
    table(("URL", "SUMMARY"), [(f"{each.name}://", each.summary) for each in schemes])


@command(
    "describe",
    examples=["hivebus transports describe redis://localhost:6379", "hivebus transports describe --json"],
)
@click.argument("target", metavar="[URL]", required=False)
def describe(app: App, *, target: str | None) -> None:
    """Connect, and show what the server behind a URL can do.

    Without URL, the one that is configured. A capability is native, emulated or absent.
    """
    if target:
        app.flags = {**app.flags, "url": target}
    capabilities = run(_capabilities(app))
    if app.as_json:
        facts = {name: {"support": each.support, "value": each.value} for name, each in capabilities.items()}
        document("transports.describe", {"url": masked(app.settings.url), "capabilities": facts})
        return
    rows = [(name, each.support, _text(each.value)) for name, each in capabilities.items()]
    table(("CAPABILITY", "SUPPORT", "VALUE"), rows)


async def _capabilities(app: App) -> Capabilities:
    async with connect(app) as link:
        return link.capabilities


def _text(value: Any) -> Any:
    return None if value in (True, None) and not isinstance(value, int | float) else value


transports.add_command(list_transports)
transports.add_command(describe)
