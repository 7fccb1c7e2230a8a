"""A primary and its replica: paused, killed and promoted by a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .own_server import OwnServer, free_port

PATIENCE = 20.0
QUICK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")


@dataclass(frozen=True)
class Pair:
    """Two servers, of which the second copies the first."""

    primary: OwnServer
    replica: OwnServer

    @property
    def url(self) -> str:
        """Where messages go."""
        return self.primary.url

    def await_link(self) -> None:
        """Return when the replica has all that the primary has."""
        deadline = time.monotonic() + PATIENCE
        with self.primary.client() as client:
            # Behind a write: without one, Valkey does not ask the replica.
            while client.set("linked", "?") and client.execute_command("WAIT", 1, 1000) < 1:
                assert time.monotonic() < deadline, "the replica did not connect"


def make_pair(make_server: Callable[..., OwnServer], *settings: str, kind: str, replica: Sequence[str] = ()) -> Pair:
    """Start a primary and a replica of it, and wait until they are linked."""
    port = free_port()
    primary = make_server("--port", str(port), *QUICK, *settings, kind=kind)
    pair = Pair(primary, make_server("--replicaof", "127.0.0.1", str(port), *QUICK, *replica, kind=kind))
    pair.await_link()
    return pair
