"""`hivebus agents rename`, `forget` and `fallback`: they show what would change, ask first, and lose no mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from hivebus import registry
from hivebus.cli.app import App
from hivebus.cli.asking import ask
from hivebus.cli.link import Link, connect, run
from hivebus.cli.options import CommandFunction, command, duration_type
from hivebus.cli.output import document, table, warn
from hivebus.errors import Conflict, Refused
from hivebus.pools import KIND, not_there
from hivebus.transport import Counts

NO_FALLBACK = "none"


def _sure(function: CommandFunction) -> CommandFunction:
    """Add what says how sure one is."""
    for add in reversed(
        [
            click.option("--dry-run", is_flag=True, help="Only show what would change."),
            click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        ]
    ):
        function = add(function)
    return function


@command("rename", examples=["hivebus agents rename dev backend-dev", "hivebus agents rename dev api --dry-run"])
@click.argument("old")
@click.argument("new")
@_sure
def rename(app: App, *, old: str, new: str, dry_run: bool, yes: bool) -> None:
    """Give an agent another name.

    Its topics and its fallback go along, and whoever still writes to the old name writes to the new one by that.
    It is refused while anything waits under the old name or somebody reads it: let the agent finish, stop it, and
    start it under its new name afterwards. Dead letters and history stay under the old one.
    """
    old, new = app.name_of(old, field="old"), app.name_of(new, field="new")
    if old == new:
        raise click.UsageError("the two names are the same")
    run(_check_rename(app, old, new))
    facts = {"old": old, "new": new, "dry_run": dry_run}
    if not dry_run:
        if not yes:
            ask(app, f"Rename {old} to {new}?", what=f"rename {old} to {new}", show=lambda: None)
        left = run(_rename(app, old, new))
        facts["left_behind"] = left
        if left:
            warn(f"{left} messages for {old} came at the same moment: hivebus receive --agent {old}")
    _tell(app, "rename", facts, ("OLD", "NEW", "OUTCOME"), [(old, new, "would be renamed" if dry_run else "renamed")])


@command("forget", examples=["hivebus agents forget old-agent --yes", "hivebus agents forget old-agent --dry-run"])
@click.argument("names", metavar="AGENT...", nargs=-1, required=True)
@_sure
def forget(app: App, *, names: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Forget agents: a broadcast leaves them out, their topics and their fallback end.

    The inbox of each stays as it is, with all that is in it. An agent that still runs registers itself again. Of a
    name that was given up, the rename is forgotten: mail for it stays there from then on.
    """
    wanted = [app.name_of(name, field="agent") for name in dict.fromkeys(names)]
    waiting = run(_check_forget(app, wanted))
    if not dry_run:
        if not yes:
            ask(
                app,
                f"Forget {len(wanted)} agents?" if len(wanted) > 1 else f"Forget {wanted[0]}?",
                what=f"forget {', '.join(wanted)}",
                show=lambda: table(("AGENT", "UNREAD"), list(waiting.items())),
            )
        run(_forget(app, wanted))
    done = "would be forgotten" if dry_run else "forgotten"
    facts = {"agents": [{"agent": name, "unread": unread} for name, unread in waiting.items()], "dry_run": dry_run}
    _tell(app, "forget", facts, ("AGENT", "UNREAD", "OUTCOME"), [(*each, done) for each in waiting.items()])


@command("fallback", examples=["hivebus agents fallback dev @backend --after 30m", "hivebus agents fallback dev none"])
@click.argument("name", metavar="AGENT")
@click.argument("to", metavar="TO")
@click.option("--after", type=duration_type(), default="15m", show_default=True, help="Gone for that long.")
def fallback(app: App, *, name: str, to: str, after: float) -> None:
    """Say who gets the mail of an agent while it is gone.

    TO is another agent or a @pool, or "none" for nobody. Mail that is sent when the agent has not read its inbox
    for that long goes to TO instead, marked with rerouted_from; once, whatever TO has as its own fallback.
    """
    agent, chosen = app.name_of(name, field="agent"), None if to == NO_FALLBACK else app.settings.name_of(to)
    run(_set_fallback(app, agent, chosen, after))
    facts = {"agent": agent, "fallback": chosen, "after_seconds": after if chosen else None}
    _tell(app, "fallback", facts, ("AGENT", "FALLBACK"), [(agent, chosen or "no fallback")])


async def _check_rename(app: App, old: str, new: str) -> None:
    async with connect(app) as link:
        known = await registry.read(link.directory(to="rename agents"))
        if known.moved.get(old) == new:
            return  # interrupted, and repeated
        if old not in known.agents:
            from hivebus.cli.agents import not_registered

            raise not_registered(old, known)
        if new in known.agents:
            raise Conflict(
                f"there is an agent {new} already", hint=f"choose another name, or hivebus agents forget {new}"
            )
        counts = await _counts(link, old)
        open_ = _open(counts)
        if open_ or counts.consumers:
            raise Refused(
                f"{old} cannot be renamed now",
                cause=f"{open_} of its messages are not settled, and {counts.consumers} consumers read or hold them",
                hint=f"let it finish and stop it, or see what waits: hivebus inbox --agent {old}",
            )


async def _rename(app: App, old: str, new: str) -> int:
    async with connect(app) as link:
        await registry.rename(link.directory(to="rename agents"), old, new)
        return _open(await _counts(link, old))


async def _check_forget(app: App, names: list[str]) -> dict[str, int]:
    async with connect(app) as link:
        known = await registry.read(link.directory(to="forget agents"))
        for name in names:
            if name not in known.agents and name not in known.moved:
                from hivebus.cli.agents import not_registered

                raise not_registered(name, known)
        return {name: (await _counts(link, name)).waiting for name in names}


async def _forget(app: App, names: list[str]) -> None:
    async with connect(app) as link:
        for name in names:
            await registry.forget(link.directory(to="forget agents"), name)


async def _set_fallback(app: App, agent: str, to: str | None, after: float) -> None:
    async with connect(app) as link:
        directory = link.directory(to="set fallbacks")
        if to is not None and to.startswith("@"):
            pools = await directory.read(KIND)
            if to[1:] not in pools:
                raise not_there(to[1:], pools)
        await registry.set_fallback(directory, agent, to, after=after)


async def _counts(link: Link, name: str) -> Counts:
    return (await link.inspectable(to="count messages").counts([name]))[0]


def _open(counts: Counts) -> int:
    return counts.waiting + counts.in_flight + counts.retrying + counts.scheduled


def _tell(
    app: App, name: str, facts: Mapping[str, object], head: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    if app.as_json:
        document(f"agents.{name}", facts)
    else:
        table(head, rows)
