"""What is known about a running embedded server, and how to find it in a few milliseconds."""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import asdict, dataclass

from hivebus_redis.embedded.places import Places, write_aside

CONNECT_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Instance:
    """One running server.

    Attributes:
        url: where to connect, ``unix:///path/of/the/socket``.
        pid: its process.
        socket: the path of its socket.
        data_dir: where its messages are kept, also while it does not run.
        log: its log file.
        server: the program that runs.
        version: of that program, such as ``valkey 9.1.2``.
        namespace: the bus that it belongs to.
        started: when, in seconds since the epoch.
        durability: what its configuration gives, attested by whoever started it: ``fsync``.
    """

    url: str
    pid: int
    socket: str
    data_dir: str
    log: str
    server: str
    version: str
    namespace: str
    started: float
    durability: str


def find(namespace: str) -> Instance | None:
    """Return the server of *namespace* when one accepts connections; start nothing."""
    known = read(Places.of(namespace))
    return known if known and is_ours(known.socket) and answers(known.socket) else None


def read(places: Places) -> Instance | None:
    """Return what was recorded last, whether or not it still runs."""
    try:
        with open(places.record, encoding="utf-8") as file:
            known = Instance(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None  # absent, unreadable or from another version: whoever starts the server writes it anew
    return known


def write(places: Places, instance: Instance) -> None:
    """Record *instance* for everybody who looks for it."""
    write_aside(places.record, json.dumps(asdict(instance), indent=1))


def is_ours(path: str) -> bool:
    """Tell whether *path* is a socket that this user made: never talk to a stranger's server."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()


def answers(path: str) -> bool:
    """Tell whether somebody accepts connections on the socket at *path*."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_TIMEOUT)
        try:
            connection.connect(path)
        except OSError:
            return False
    return True
