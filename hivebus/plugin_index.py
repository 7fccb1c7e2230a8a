"""A file that remembers which plugins are installed, so that a one-shot sender need not look.

Scanning entry points and importing every plugin costs more than sending a message. The index is
rebuilt whenever a folder on the import path has changed, which installing or removing a package does.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

from hivebus.scheme import Scheme

FORMAT = 3


class Found(NamedTuple):
    """One installed plugin; *error* says why it could not be loaded."""

    name: str
    module: str
    version: str
    error: str | None

    def broken(self, error: Exception) -> Found:
        """Return the same plugin with the reason why it cannot be used."""
        return self._replace(error=f"{type(error).__name__}: {error}")


class Command(NamedTuple):
    """A command that a plugin adds to ``hivebus``."""

    name: str
    target: str
    summary: str


class Index(NamedTuple):
    """What is installed: plugins, the URL schemes they serve and the commands they add.

    *alters_messages* tells that a codec or middleware wants to see every message on its way out.
    """

    plugins: list[Found]
    schemes: list[Scheme]
    commands: list[Command]
    alters_messages: bool

    def scheme(self, url: str) -> Scheme | None:
        """Return who serves *url*, or None."""
        name = url.partition("://")[0]
        return next((scheme for scheme in self.schemes if scheme.name == name), None)


def read(*, rebuild: Callable[[], Index] | None = None) -> Index:
    """Return the index of this environment, rebuilt when the environment changed since it was written."""
    path = _path()
    fingerprint = _fingerprint()
    kept = _read_file(path, fingerprint)
    if kept is not None:
        return kept
    if rebuild is None:
        # Imported late: it brings pluggy, which a process with a fresh index never needs.
        from hivebus.plugins import build_index

        rebuild = build_index
    index = rebuild()
    _write_file(path, fingerprint, index)
    return index


def load(target: str | Callable[..., Any]) -> Any:
    """Return what ``module:attribute`` names, or *target* itself when it is no path."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _path() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "hivebus", f"plugins-{crc32(repr(sys.path[1:]).encode()):x}.json")


def _fingerprint() -> list[list[Any]]:
    seen: list[list[Any]] = []
    for folder in dict.fromkeys(sys.path[1:]):
        try:
            seen.append([folder, os.stat(folder).st_mtime_ns])
        except OSError:
            continue
    return [[FORMAT, sys.version], *seen]


def _read_file(path: str, fingerprint: list[list[Any]]) -> Index | None:
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        if kept["fingerprint"] != fingerprint:
            return None
        return Index(
            plugins=[Found(**each) for each in kept["plugins"]],
            schemes=[Scheme(**each) for each in kept["schemes"]],
            commands=[Command(**each) for each in kept["commands"]],
            alters_messages=kept["alters_messages"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_file(path: str, fingerprint: list[list[Any]], index: Index) -> None:
    scheme_fields = ("name", "transport", "one_shot", "summary", "where")
    text = json.dumps(
        {
            "fingerprint": fingerprint,
            "plugins": [each._asdict() for each in index.plugins],
            "schemes": [{name: getattr(each, name) for name in scheme_fields} for each in index.schemes],
            "commands": [each._asdict() for each in index.commands],
            "alters_messages": index.alters_messages,
        }
    )
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Written aside and renamed, so that a reader never sees half an index.
        aside = f"{path}.{os.getpid()}"
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(aside, path)
    except OSError:
        pass  # a read-only home only costs the time to build it again
