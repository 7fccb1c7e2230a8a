"""SIGTERM and SIGINT as a request to stop, for as long as one bus runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* on either signal; only in the main thread, and not when somebody handles them already.

    A second bus in the same process, or an application with handlers of its own, is left alone.
    """
    loop = asyncio.get_running_loop()
    mine = [number for number in SIGNALS if _is_free(number)]
    for number in mine:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in mine:
            loop.remove_signal_handler(number)


def _is_free(number: signal.Signals) -> bool:
    if threading.current_thread() is not threading.main_thread():
        return False
    # asyncio.run handles SIGINT by cancelling its main task, which means the same to us.
    return signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
