"""Where an embedded server keeps its files: the data per user and namespace, the socket on a short path."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from hivebus.errors import ConfigError, Unavailable
from hivebus.limits import NAME_PATTERN

# 108 bytes on Linux, 104 on macOS, with the closing zero.
LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one namespace. Nothing is created by asking for them.

    Attributes:
        namespace: the bus.
        data_dir: the folder of all but the socket.
    """

    namespace: str
    data_dir: str

    @classmethod
    def of(cls, namespace: str) -> Places:
        """Return the places of *namespace* for this user, or raise `ConfigError` when it is no name."""
        if not re.fullmatch(NAME_PATTERN, namespace):
            # It becomes a folder: "../x" must not leave the state directory.
            raise ConfigError(f"namespace {namespace!r} is no name", cause=f"it must match {NAME_PATTERN}")
        return cls(namespace=namespace, data_dir=os.path.join(_state_home(), "hivebus", namespace))

    @property
    def record(self) -> str:
        """What is known about the running server."""
        return os.path.join(self.data_dir, "instance.json")

    @property
    def config(self) -> str:
        """The configuration of the server, kept for its next start."""
        return os.path.join(self.data_dir, "server.conf")

    @property
    def log(self) -> str:
        """The log of the server."""
        return os.path.join(self.data_dir, "server.log")

    @property
    def pidfile(self) -> str:
        """Written by the server itself, and removed before each start: it is never another server's."""
        return os.path.join(self.data_dir, "server.pid")

    @property
    def starting(self) -> str:
        """Locked by whoever starts or stops the server."""
        return os.path.join(self.data_dir, "starting.lock")

    @property
    def living(self) -> str:
        """Locked by the server as long as it lives, even when nobody can reach it any more."""
        return os.path.join(self.data_dir, "living.lock")


def make_data_dir(places: Places) -> None:
    """Create the folder of the data for this user alone, or raise `Unavailable`."""
    try:
        os.makedirs(places.data_dir, mode=0o700, exist_ok=True)
        found = os.stat(places.data_dir)
        if found.st_uid != os.geteuid():
            raise Unavailable(
                f"the data in {places.data_dir} belong to user {found.st_uid}, and this is user {os.geteuid()}",
                cause="HOME or XDG_STATE_HOME points to the files of another user (sudo?)",
                hint="run as that user, or set XDG_STATE_HOME, or HIVEBUS_URL to use a server that you run",
            )
        os.chmod(places.data_dir, 0o700)
    except OSError as error:
        raise unusable(places.data_dir, error) from error


def choose_socket(places: Places) -> str:
    """Return a path for the socket, in a folder that only this user can enter, or raise `Unavailable`."""
    # The hash keeps two data directories apart that share a runtime directory and a namespace.
    name = f"{places.namespace[:20]}-{crc32(os.fsencode(places.data_dir)):08x}.sock"
    for folder in _socket_folders():
        path = os.path.join(folder, name)
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            _make_private(folder)
            return path
    raise Unavailable(
        "there is no folder with a path short enough for a socket",
        cause=f"a socket path may have {LONGEST_SOCKET_PATH} bytes",
        hint="set XDG_RUNTIME_DIR or TMPDIR to a short path",
    )


def write_aside(path: str, text: str) -> None:
    """Write *text* to *path*, so that a reader finds the old or the new text and never half of it."""
    aside = f"{path}.{os.getpid()}"
    with open(aside, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.replace(aside, path)


def unusable(path: str, error: OSError) -> Unavailable:
    """Return the error for a file or folder that the embedded server needs and cannot use."""
    return Unavailable(
        f"the embedded server cannot use {path}",
        cause=error.strerror or str(error),
        hint="make room there or correct its permissions, or set XDG_STATE_HOME to another folder",
    )


def _state_home() -> str:
    # The XDG rules, on macOS too: a relative path counts as unset.
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    if not os.path.isabs(base):
        raise Unavailable(
            "there is no folder for the data of the embedded server",
            cause="HOME is no absolute path, and this user has no other home",
            hint="set XDG_STATE_HOME or HOME to an absolute path",
        )
    return base


def _socket_folders() -> Iterator[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if _is_usable(runtime):
        yield os.path.join(runtime, "hivebus")
    for temporary in (os.environ.get("TMPDIR", ""), "/tmp"):  # noqa: S108 - a private folder is made in it
        if _is_usable(temporary):
            yield os.path.join(temporary, f"hivebus-{os.geteuid()}")


def _is_usable(folder: str) -> bool:
    return os.path.isabs(folder) and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def _make_private(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise unusable(folder, error) from error
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077:
        return
    raise Unavailable(
        f"{folder} cannot hold the socket of the embedded server",
        cause=f"it must be a folder of user {os.geteuid()} with mode 0700: others could replace the server",
        hint=f"look who made it, remove it or chmod 700 {folder}, or set XDG_RUNTIME_DIR to a folder of your own",
    )
