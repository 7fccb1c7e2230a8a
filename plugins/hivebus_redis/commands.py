"""`hivebus up`, `down` and `logs`: look after the embedded server."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command
from hivebus.cli.output import document, line, table
from hivebus.errors import ConfigError, NotFound
from hivebus.settings import masked
from hivebus_redis.embedded import Instance, ensure, stop
from hivebus_redis.embedded.places import Places

PAUSE = 0.2


@command("up", examples=["hivebus up", "hivebus up --json | jq -r .socket"])
@click.option("--foreground", is_flag=True, help="Stay until a signal ends the server, for a service manager.")
def up(app: App, *, foreground: bool) -> ExitCode:
    """Start the embedded server, or say where the running one is.

    It needs no set-up, listens on a socket that only you can reach, and outlives this terminal.
    Commands that find no URL start it by themselves.
    """
    _warn_if_unused(app)
    namespace = app.settings.namespace
    if not foreground:
        _show(app, ensure(namespace))
        return ExitCode.OK
    # Imported here: only a service manager needs it.
    from hivebus_redis.embedded.lifecycle import serve

    code = serve(namespace, announce=lambda running: _show(app, running))
    return ExitCode.OK if code == 0 else ExitCode.CHECK_FAILED


@command("down", examples=["hivebus down", "hivebus down --namespace staging"])
def down(app: App) -> None:
    """Stop the embedded server. Its messages stay on disk, and are there again at the next start.

    Agents that are connected lose their connection; one that has no URL starts the server again.
    """
    places = Places.of(app.settings.namespace)
    stopped = stop(places.namespace)
    if app.as_json:
        document("down", {"namespace": places.namespace, "stopped": stopped, "data_dir": places.data_dir})
    elif stopped:
        line(f"stopped the server of namespace {places.namespace}; its messages are kept in {places.data_dir}")
    else:
        line(f"no server of namespace {places.namespace} was running")


@command("logs", examples=["hivebus logs --lines 20", "hivebus logs --follow"], namespace=("--namespace",))
@click.option("--lines", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="How many of the last.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until Ctrl-C.")
def logs(app: App, *, lines: int, follow: bool) -> None:
    """Show the log of the embedded server, also when it does not run.

    Starts and contacts no server.
    """
    if app.as_json:
        raise ConfigError("the log is text, and has no JSON form", hint="hivebus logs --lines 20")
    places = Places.of(app.settings.namespace)
    if not os.path.exists(places.log):
        raise NotFound(
            f"there is no log of an embedded server of namespace {places.namespace}",
            cause="it was never started here, or XDG_STATE_HOME differs",
            hint="hivebus up",
        )
    for each in _last_lines(places.log, lines, follow=follow):
        line(each)
        if follow:
            sys.stdout.flush()


def _warn_if_unused(app: App) -> None:
    settings = app.settings
    if settings.has_url and not settings.url.startswith("embedded:"):
        app.note(f"hivebus: commands will not use this server: {settings.sources['url']} says {masked(settings.url)}")


def _show(app: App, running: Instance) -> None:
    facts = {name: getattr(running, name) for name in ("url", "pid", "socket", "data_dir", "log")}
    if app.as_json:
        document("up", facts)
    else:
        facts |= {"server": running.server, "version": running.version, "durability": running.durability}
        table(("WHAT", "VALUE"), list(facts.items()))
    sys.stdout.flush()


def _last_lines(path: str, count: int, *, follow: bool) -> Iterator[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        known = file.readlines()
        yield from (each.rstrip("\n") for each in known[len(known) - min(count, len(known)) :])
        while follow:
            new = file.readline()
            if new:
                yield new.rstrip("\n")
            else:
                time.sleep(PAUSE)
