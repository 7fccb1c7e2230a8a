"""`hivebus agents`: who is registered, who reads, and what waits for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from hivebus import registry
from hivebus.cli.agents_changes import fallback, forget, rename
from hivebus.cli.agents_topics import subscribe, unsubscribe
from hivebus.cli.app import App
from hivebus.cli.link import Link, connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, duration, table
from hivebus.cli.watching import watch_option, watched
from hivebus.errors import NotFound

HEAD = ("AGENT", "PRESENCE", "UNREAD", "OLDEST", "LAST SEEN", "BY", "HOST")


class _Agents(click.Group):
    """Lists when it is called without a command of its own."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(invoke_without_command=True, **attributes)


@command("agents", examples=["hivebus agents", "hivebus agents show pm-agent"], cls=_Agents)
@watch_option()
def agents(app: App, *, watch: float | None) -> None:
    """List the agents, who is there, and what waits for each.

    The same as hivebus agents list.
    """
    if click.get_current_context().invoked_subcommand is None:
        _list(app, watch)


@command("list", examples=["hivebus agents list --watch 5s", "hivebus agents list --json | jq '.agents[].agent'"])
@watch_option()
def list_(app: App, *, watch: float | None) -> None:
    """List the agents, who is there, and what waits for each.

    An agent is registered when it reads its inbox for the first time, or subscribes to a topic, and for 30 days
    after it was last seen. It is live while it reads or holds messages, idle for 15 minutes after that, and gone
    then. Its mail waits in any case.
    """
    _list(app, watch)


@command("show", examples=["hivebus agents show pm-agent", "hivebus agents show pm-agent --json"])
@click.argument("name", metavar="AGENT")
def show(app: App, *, name: str) -> None:
    """Show all that is known of one agent: its topics and its fallback too."""
    facts = run(_one(app, app.name_of(name, field="agent")))
    if app.as_json:
        document("agents", {"agents": [facts]})
        return
    table(("WHAT", "VALUE"), [(name.replace("_seconds", ""), _shown(name, value)) for name, value in facts.items()])


def _list(app: App, watch: float | None) -> None:
    def look() -> Callable[[], None]:
        found = run(_all(app))
        return lambda: _show_all(app, found)

    watched(app, watch, look)


async def _all(app: App) -> list[dict[str, Any]]:
    async with connect(app) as link:
        known = await registry.read(link.directory(to="list agents"))
        return await _facts(link, known, list(known.agents.values()))


async def _one(app: App, name: str) -> dict[str, Any]:
    async with connect(app) as link:
        known = await registry.read(link.directory(to="show agents"))
        if name in known.moved:
            raise NotFound(f"{name} is called {known.moved[name]} now", hint=f"hivebus agents show {known.moved[name]}")
        if name not in known.agents:
            raise not_registered(name, known)
        [facts] = await _facts(link, known, [known.agents[name]])
        old = sorted(each for each, new in known.moved.items() if new == name)
        return {**facts, **({"formerly": old} if old else {})}


async def _facts(link: Link, known: registry.Registry, found: Sequence[registry.Agent]) -> list[dict[str, Any]]:
    counts = await link.inspectable(to="count messages").counts([each.name for each in found])
    return [
        {
            "agent": each.name,
            "presence": each.presence(count, now=known.now),
            "unread": count.waiting,
            "in_flight": count.in_flight,
            "retrying": count.retrying,
            "scheduled": count.scheduled,
            "dead": count.dead,
            "oldest_waiting_seconds": count.oldest_waiting_seconds,
            "last_seen_seconds": None if each.seen is None else round(max(0.0, known.now - each.seen), 3),
            "consumers": count.consumers,
            "kind": each.kind,
            "host": each.host,
            "pid": each.pid,
            "pools": list(each.pools),
            "subscriptions": list(each.subscriptions),
            "fallback": each.fallback,
            "fallback_after_seconds": each.fallback_after,
        }
        for each, count in zip(found, counts, strict=True)
    ]


def _show_all(app: App, found: Sequence[Mapping[str, Any]]) -> None:
    if app.as_json:
        document("agents", {"agents": found})
        return
    columns = ("agent", "presence", "unread", "oldest_waiting_seconds", "last_seen_seconds", "kind", "host")
    table(HEAD, [[_shown(name, each[name]) for name in columns] for each in found])
    if not found:
        app.note("no agent is registered yet: it is when it reads its inbox for the first time")


def _shown(name: str, value: Any) -> object:
    if isinstance(value, list):
        return ", ".join(value) or None
    return duration(value) if "seconds" in name else value


def not_registered(name: str, known: registry.Registry) -> NotFound:
    """Return the error for a name that nobody has registered, with those that may be meant."""
    from difflib import get_close_matches

    close = get_close_matches(name, known.agents, n=3)
    return NotFound(
        f"no agent {name} is registered" + (f"; did you mean {' or '.join(close)}?" if close else ""),
        cause="it has never read its inbox, or nobody has seen it for 30 days",
        hint="hivebus agents list; hivebus queues lists every inbox, registered or not",
    )


for _command in (list_, show, subscribe, unsubscribe, fallback, rename, forget):
    agents.add_command(_command)  # type: ignore[attr-defined]
