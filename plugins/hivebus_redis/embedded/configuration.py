"""The configuration of an embedded server: reachable by its user alone, every write on the disk."""

from __future__ import annotations

import os

from hivebus_redis.embedded.places import Places, write_aside

TEMPLATE = """\
# Written by hivebus before each start of the server; changes made here are lost.
pidfile {pidfile}
logfile {log}
dir {data_dir}

# Only this user, and nothing on the network.
port 0
unixsocket {socket}
unixsocketperm 700

# A write is answered after it is on the disk.
appendonly yes
appendfsync always
save ""

# Full means refused: never make room by dropping a message.
maxmemory-policy noeviction
"""


def write(places: Places, *, socket: str) -> None:
    """Write the configuration for a server that listens on *socket*."""
    paths = {"pidfile": places.pidfile, "log": places.log, "data_dir": places.data_dir, "socket": socket}
    write_aside(places.config, TEMPLATE.format_map({name: quote(path) for name, path in paths.items()}))


def socket_of(places: Places) -> str | None:
    """Return the socket that the server was told to listen on, or None when it never was."""
    try:
        with open(places.config, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n") for line in file]
    except OSError:
        return None
    quoted = next((line.partition(" ")[2] for line in lines if line.startswith("unixsocket ")), None)
    return unquote(quoted) if quoted else None


def quote(path: str) -> str:
    """Return *path* as one word of a server configuration."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def unquote(word: str) -> str:
    """Return the path that `quote` was given."""
    parts = [part.replace('\\"', '"').replace("\\n", "\n") for part in word[1:-1].split("\\\\")]
    return "\\".join(parts)


def environment() -> dict[str, str]:
    """Return the environment of the server: a locale that is not installed must not keep it from starting."""
    return {**os.environ, "LC_ALL": "C"}
