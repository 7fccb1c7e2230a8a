"""`hivebus agents subscribe` and `unsubscribe`: topics for agents that are no Python program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import click

from hivebus import registry
from hivebus.cli.app import App
from hivebus.cli.link import connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, table
from hivebus.transport import Directory

Change = Callable[[Directory, str, Sequence[str]], Awaitable[None]]


@command(
    "subscribe",
    examples=["hivebus agents subscribe 'agent.*.system_alert' --agent audit", "hivebus agents subscribe '#' -a audit"],
)
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
def subscribe(app: App, *, patterns: tuple[str, ...]) -> None:
    """Get a copy of what is sent to others.

    A PATTERN is agent.NAME.TYPE: * stands for one part, # at the end for all the rest. The copies come into your own
    inbox, from the moment in which this command returns, until you unsubscribe. Put a PATTERN in quotes.
    """
    _change(app, "subscribe", patterns, registry.subscribe, registers=True)


@command(
    "unsubscribe",
    examples=[
        "hivebus agents unsubscribe 'agent.*.system_alert' --agent audit",
        "hivebus agents unsubscribe '#' -a audit",
    ],
)
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
def unsubscribe(app: App, *, patterns: tuple[str, ...]) -> None:
    """Get no more copies. What was sent before stays in your inbox; a PATTERN that you never had is no error."""
    _change(app, "unsubscribe", patterns, registry.unsubscribe, registers=False)


def _change(app: App, name: str, patterns: Sequence[str], change: Change, *, registers: bool) -> None:
    checked, agent = registry.check_patterns(patterns), app.agent
    left = run(_changed(app, agent, checked, change, registers=registers))
    if app.as_json:
        document(f"agents.{name}", {"agent": agent, "subscriptions": left})
        return
    table(("AGENT", "PATTERN"), [(agent, pattern) for pattern in left])
    if not left:
        app.note(f"{agent} has no subscriptions")


async def _changed(app: App, agent: str, patterns: Sequence[str], change: Change, *, registers: bool) -> list[str]:
    async with connect(app) as link:
        directory = link.directory(to="keep subscriptions")
        if registers:
            await registry.register(directory, agent, kind="command")
        await change(directory, agent, patterns)
        return await registry.subscriptions_of(directory, agent)
