"""`hivebus completion`: what a shell needs to complete the command line."""

from __future__ import annotations

import sys

import click

from hivebus.cli import COMPLETE_VARIABLE
from hivebus.cli.app import App
from hivebus.cli.options import command


@command(
    "completion",
    bus=False,
    examples=['eval "$(hivebus completion bash)"', "hivebus completion fish > ~/.config/fish/completions/hivebus.fish"],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(app: App, *, shell: str) -> None:
    """Print the completion script of your shell.

    Put the first example into ~/.bashrc or ~/.zshrc (with zsh in it).
    """
    from click.shell_completion import get_completion_class

    from hivebus.cli.group import root

    found = get_completion_class(shell)
    assert found is not None
    # Not through `source()` of a new bash alone: the version check of click would start one, and complain.
    script = found(root, {}, "hivebus", COMPLETE_VARIABLE)
    sys.stdout.write(script.source_template % script.source_vars() + "\n")
