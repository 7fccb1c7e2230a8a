"""`hivebus version`: what is installed here."""

from __future__ import annotations

import platform
from importlib import metadata

from hivebus import plugin_index
from hivebus.cli.app import App
from hivebus.cli.options import command
from hivebus.cli.output import document, table


@command("version", bus=False, examples=["hivebus version", "hivebus version --json | jq -r .version"])
def version(app: App) -> None:
    """Show the version of hivebus and of its plugins.

    Starts and contacts no server.
    """
    plugins = {each.name: each.version for each in plugin_index.read().plugins}
    facts = {"version": metadata.version("hivebus"), "python": platform.python_version(), "plugins": plugins}
    if app.as_json:
        document("version", facts)
        return
    rows = [("hivebus", facts["version"]), ("python", facts["python"])]
    table(("WHAT", "VERSION"), [*rows, *((f"plugin {name}", each) for name, each in plugins.items())])
