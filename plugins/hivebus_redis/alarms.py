"""What an operator must hear of: it healed, and something may be lost. Goes to the logger ``hivebus.alarms``.

Every event has a constant text, and its facts in ``extra``. An ERROR says that messages are gone; a WARNING
that something was found missing and is there again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

LOGGER = "hivebus.alarms"
_log = logging.getLogger(LOGGER)


def functions_were_gone(where: str) -> None:
    """The server-side functions had to be loaded again: somebody flushed them, or this is another server."""
    _log.warning("the functions of the server were gone, and are loaded again", extra={"server": where})


def stream_was_gone(where: str, *, inbox: str, held: int) -> None:
    """Somebody deleted a stream of an inbox: what waited in it, or was in flight from it, is gone."""
    _log.error(
        "a stream of an inbox was deleted, and is made again",
        extra={"server": where, "inbox": inbox, "messages_in_hand": held},
    )


def everything_was_gone(where: str, *, namespace: str, since: float, sent: int) -> None:
    """The server has forgotten the bus: it was flushed, or another server stands in its place.

    Args:
        where: the server.
        namespace: the bus.
        since: since when the bus had been there, in seconds since the epoch.
        sent: how many messages this process had stored there.
    """
    _log.error(
        "the server has forgotten this bus: it was flushed, or replaced by another one",
        extra={"server": where, "namespace": namespace, "since": since, "sent_by_this_process": sent},
    )


def notifications_may_be_missed(where: str, *, patterns: Sequence[str], seconds: float, why: str) -> None:
    """A listener lost its connection, and has another one: what was said in between, it did not hear."""
    _log.warning(
        "a listener was cut off, and listens again: it may have missed notifications",
        extra={"server": where, "patterns": tuple(patterns), "seconds": seconds, "why": why},
    )


def durability_was_lost(where: str, *, before: str, now: str, why: str) -> None:
    """The server gives a lesser level than before: what is on its way may not survive a crash of it."""
    _log.error(
        "the server gives less durability than before",
        extra={"server": where, "before": before, "now": now, "why": why},
    )
