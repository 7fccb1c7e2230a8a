"""`hivebus config`: the settings, and where each of them comes from."""

from __future__ import annotations

from typing import Any

from hivebus.cli.app import App
from hivebus.cli.options import command, group
from hivebus.cli.output import document, json_text, table
from hivebus.setting_rules import SETTINGS
from hivebus.settings import Settings, masked


@group("config", examples=["hivebus config show", "hivebus config show --json | jq .settings.url"])
def config() -> None:
    """Show the settings and where each comes from."""


@command("show", examples=["hivebus config show", "HIVEBUS_NAMESPACE=test hivebus config show --json"])
def show(app: App) -> None:
    """Show every setting, its value and its source.

    A flag wins over HIVEBUS_* in the environment, that over the nearest .hivebus.toml, that over the
    user's config.toml, that over the default. Who you are may also stand on your tmux pane, right after
    the environment. Passwords are masked. Starts and contacts no server.
    """
    settings = app.settings
    who = app.identity
    values = {name: (_value(settings, name), settings.sources[name]) for name in SETTINGS}
    values["agent"] = (who.agent, who.source)
    if who.silence:
        app.note(f"note: {who.silence}")
    if app.as_json:
        facts = {name: {"value": value, "source": source} for name, (value, source) in values.items()}
        document("config.show", {"settings": facts})
        return
    table(("SETTING", "VALUE", "SOURCE"), [(name, _text(value), source) for name, (value, source) in values.items()])


def _value(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    return masked(value) if name == "url" else value


def _text(value: Any) -> Any:
    return json_text(value) if isinstance(value, dict) else value


config.add_command(show)
