"""How a command fails: what happened, the likely cause and the next step, on stderr."""

from __future__ import annotations

import re
import sys

import click

from hivebus.cli.exit_codes import ExitCode, exit_code_of
from hivebus.cli.output import bold, json_text, safe
from hivebus.errors import HivebusError, NoAnswer


def show_error(error: HivebusError, *, as_json: bool) -> ExitCode:
    """Print a hivebus error and return its exit code."""
    code = exit_code_of(error)
    what = f"{error.what} ({error.cause})" if error.cause else error.what
    # Whoever asked looks for a late answer by this.
    asked = {"message_id": error.message_id} if isinstance(error, NoAnswer) else {}
    _show(name=_snake(type(error).__name__), what=what, hint=error.hint, code=code, as_json=as_json, **asked)
    return code


def show_usage(error: click.ClickException, *, as_json: bool) -> ExitCode:
    """Print what is wrong with the command line, and return the exit code for it."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = getattr(error, "hint", None) or f"{context.command_path if context else 'hivebus'} --help"
    _show(name="usage", what=error.format_message(), hint=hint, code=ExitCode.USAGE, as_json=as_json)
    return ExitCode.USAGE


def show_bug(error: Exception, *, as_json: bool) -> ExitCode:
    """Print an error that nobody foresaw, with its traceback, and return the exit code for it."""
    import traceback

    if not as_json:
        sys.stderr.write(safe("".join(traceback.format_exception(error))))
    what = f"this is a bug in hivebus: {type(error).__name__}: {error}"
    _show(name="bug", what=what, hint="report it with the lines above", code=ExitCode.BUG, as_json=as_json)
    return ExitCode.BUG


def _show(*, name: str, what: str, hint: str | None, code: ExitCode, as_json: bool, **more: str) -> None:
    if as_json:
        facts = {"error": {"code": name, "message": what, "hint": hint, "exit": int(code), **more}}
        sys.stderr.write(f"{json_text(facts)}\n")
        return
    sys.stderr.write(f"{bold('error:', stream=sys.stderr)} {safe(what)}\n")
    if hint:
        sys.stderr.write(f"  next: {safe(hint)}\n")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
