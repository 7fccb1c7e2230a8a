"""All commands at a glance; each is imported when it is called, and not before."""

from __future__ import annotations

from collections.abc import Mapping

import click

from hivebus.cli.options import bus_options, epilog, output_options
from hivebus.errors import ConfigError

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Send and receive": {
        "send": ("hivebus.cli.send:send", "Send one message"),
        "ask": ("hivebus.cli.ask:ask", "Send a question, and print the answer"),
        "reply": ("hivebus.cli.reply:reply", "Answer a message, in its conversation"),
        "broadcast": ("hivebus.cli.broadcast:broadcast", "Send one message to everybody"),
        "cancel": ("hivebus.cli.cancel:cancel", "Take back a message that nobody was handed yet"),
        "inbox": ("hivebus.cli.inbox:inbox", "List what you hold and what waits for you; takes nothing"),
        "receive": ("hivebus.cli.receive:receive", "Take messages out of your inbox, under a lease"),
        "listen": ("hivebus.cli.listen:listen", "Show what is said to whoever listens, and is not kept"),
        "extend": ("hivebus.cli.settle:extend", "Keep a message that you hold for longer"),
        "ack": ("hivebus.cli.settle:ack", "Say that messages are done"),
        "retry": ("hivebus.cli.settle:retry", "Put a message back, to be handed out again later"),
        "reject": ("hivebus.cli.settle:reject", "Give a message up: it becomes a dead letter"),
    },
    "Watch": {
        "trace": ("hivebus.cli.trace:trace", "Show what became of one message, and its conversation"),
        "agents": ("hivebus.cli.agents:agents", "List the agents, who is there, and what waits for each"),
        "queues": ("hivebus.cli.queues:queues", "Count what waits in every inbox"),
        "replay": ("hivebus.cli.replay:replay", "Send a part of an agent's history again"),
        "dlq": ("hivebus.cli.dlq:dlq", "Look at the dead letters, queue them again, or delete them"),
    },
    "Server": {},
    "Move away from tmux": {},
    "Set up": {
        "agent": ("hivebus.cli.agent:agent", "Say who you are, and set up Claude Code or Codex"),
        "config": ("hivebus.cli.config:config", "Show the settings and where each comes from"),
        "schema": ("hivebus.cli.schema:schema", "Print the JSON Schema of what travels"),
        "plugins": ("hivebus.cli.plugins:plugins", "List plugins, and check what a transport promises"),
        "transports": ("hivebus.cli.transports:transports", "List transports, and show what a server can do"),
        "completion": ("hivebus.cli.completion:completion", "Print the completion script of your shell"),
        "version": ("hivebus.cli.version:version", "Show the version of hivebus and of its plugins"),
    },
}
"""By section of the help: name -> where the command is, and its first line of help."""

PLUGIN_SECTIONS: Mapping[str, str] = {
    **dict.fromkeys(("up", "down", "logs", "demo", "doctor", "drill"), "Server"),
    **dict.fromkeys(("migrate", "bridge", "compat", "tail"), "Move away from tmux"),
}
"""Where the commands of our own plugins stand; those of other plugins have a section of their own."""

OTHERS = "From plugins"


class LazyGroup(click.Group):
    """Knows every command by name and summary, and imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, built-in and from plugins."""
        return [name for commands in self._sections().values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, importing it; None for an unknown name."""
        target = _built_in(cmd_name)
        if target:
            return _load(target)
        target, _ = self._from_plugins().get(cmd_name, (None, ""))
        return _load_from_plugin(cmd_name, target) if target else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command for *args*; an unknown one is an error that knows what was meant."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise _unknown_command(args[0], self.list_commands(ctx), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        for section, commands in self._sections().items():
            with formatter.section(section):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()])

    def _sections(self) -> dict[str, dict[str, tuple[str, str]]]:
        sections = {name: dict(commands) for name, commands in SECTIONS.items()}
        for name, command in self._from_plugins().items():
            sections.setdefault(PLUGIN_SECTIONS.get(name, OTHERS), {}).setdefault(name, command)
        return sections

    def _from_plugins(self) -> dict[str, tuple[str, str]]:
        from hivebus import plugin_index

        return {each.name: (each.target, each.summary) for each in plugin_index.read().commands}


def _built_in(name: str) -> str | None:
    return next((commands[name][0] for commands in SECTIONS.values() if name in commands), None)


def _load(target: str) -> click.Command:
    # Imported late: it is not needed to print the help.
    from importlib import import_module

    module, _, attribute = target.partition(":")
    found: click.Command = getattr(import_module(module), attribute)
    return found


def _load_from_plugin(name: str, target: str) -> click.Command:
    try:
        return _load(target)
    except Exception as error:  # a plugin may fail in any way, and it must be named
        raise ConfigError(
            f"the command {name!r} is in {target}, which cannot be loaded: {type(error).__name__}: {error}",
            cause="the plugin that adds it is broken, or was made for another version of hivebus",
            hint="hivebus plugins list",
        ) from error


def _unknown_command(name: str, known: list[str], ctx: click.Context) -> click.UsageError:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=2)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    return click.UsageError(f"there is no command {name!r}{meant}", ctx=ctx)


@click.group(
    name="hivebus",
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=epilog(
        [
            'hivebus send pm-agent "The login page is done" --agent frontend-agent',
            "hivebus receive --agent pm-agent --wait 30s",
        ]
    ),
)
@click.pass_context
def root(context: click.Context) -> None:
    """Durable messages between AI agents.

    Without a URL, a private server of this machine is started and used. Exit codes: 0 ok,
    1 check failed, 2 usage, 65 invalid message, 69 server unreachable, 70 bug, 75 nothing
    came or full, 77 not permitted, 78 bad config.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _option in [*bus_options(), *output_options()]:
    _option(root)
