"""`--watch`: a list that is shown again and again, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from hivebus.cli.app import App
from hivebus.cli.options import CommandFunction, duration_type

CLEAR = "\x1b[H\x1b[2J"


def watch_option() -> Callable[[CommandFunction], CommandFunction]:
    """Return the option."""
    return click.option(
        "--watch",
        type=duration_type(lowest=0.2),
        is_flag=False,
        flag_value="2s",
        metavar="[EVERY]",
        help="Look again, until Ctrl-C.",
    )


def watched(app: App, every: float | None, look: Callable[[], Callable[[], None]]) -> None:
    """Look, and show what was found; once, or *every* so many seconds.

    Args:
        look: asks the server, and returns what shows the answer.
    """
    if every is None:
        look()()
        return
    try:
        while True:
            show = look()
            if sys.stdout.isatty() and not app.as_json:
                sys.stdout.write(CLEAR)
            show()
            sys.stdout.flush()
            app.quiet = True
            time.sleep(every)
    except KeyboardInterrupt:
        return  # a watch has no other end
