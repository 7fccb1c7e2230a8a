"""The `hivebus` command: one process per command, and each imports only what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from hivebus.cli.exit_codes import ExitCode
from hivebus.errors import HivebusError

COMPLETE_VARIABLE = "_HIVEBUS_COMPLETE"


def main() -> None:
    """Run the command line of this process and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale says: JSON is UTF-8, and a message may hold any character.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = _leave_quietly()
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code; what went wrong stands on stderr."""
    from hivebus.cli.group import root

    if COMPLETE_VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, "hivebus", COMPLETE_VARIABLE, os.environ[COMPLETE_VARIABLE])
    try:
        with root.make_context("hivebus", list(args)) as context:
            return int(root.invoke(context) or ExitCode.OK)
    except click.exceptions.Exit as wish:
        return wish.exit_code
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last stop: whatever it is must leave with its own exit code
        return _explain(error, as_json=_wants_json(args))


def _explain(error: Exception, *, as_json: bool) -> ExitCode:
    from hivebus.cli.problems import show_bug, show_error, show_usage

    if isinstance(error, HivebusError):
        return show_error(error, as_json=as_json)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return show_usage(error, as_json=as_json)
    return show_bug(error, as_json=as_json)


def _wants_json(args: Sequence[str]) -> bool:
    options = args[: args.index("--")] if "--" in args else args
    return "--json" in options or "--jsonl" in options


def _leave_quietly() -> ExitCode:
    # Nobody reads stdout any more; the interpreter would complain when it flushes on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.BROKEN_PIPE
