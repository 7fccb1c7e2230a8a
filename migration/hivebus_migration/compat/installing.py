"""Which files of a project change when old code is given the new bus, and how they change back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hivebus.cli.changes import Change, read
from hivebus.errors import ConfigError
from hivebus_migration.compat.project_files import is_ours, looks_like_ours, project_files

LEGACY = ".tmux-legacy"
"""What the name of a file that was replaced ends with."""


def install(project: Path) -> Sequence[Change]:
    """Return the changes that give *project* the new bus: what is replaced is kept first.

    Raises:
        ConfigError: a file cannot be told to be ours or somebody else's.
    """
    changes: list[Change] = []
    for name, content in project_files().items():
        file, kept = read(project, name), read(project, name + LEGACY)
        if file.before is not None and not is_ours(file.before):
            changes.append(_keep(file, kept))
        changes.append(file.to(content))
    return changes


def uninstall(project: Path) -> Sequence[Change]:
    """Return the changes that give *project* back what it had, byte for byte.

    Raises:
        ConfigError: a file was changed since, or somebody else put one in its place.
    """
    changes: list[Change] = []
    for name in project_files():
        file, kept = read(project, name), read(project, name + LEGACY)
        ours = file.before is None or is_ours(file.before)
        if kept.before is not None and not ours and file.before != kept.before:
            raise _unclear(file, kept, "somebody else has written the one, and what it replaced is in the other")
        if file.before is not None and kept.before is None and looks_like_ours(file.before) and not ours:
            raise _edited(file)
        if kept.before is not None:
            changes += [file.to(kept.before, mode=_mode(kept.path)), kept.to(None)]
        elif ours:
            changes.append(file.to(None))
        else:
            changes.append(file)
    return changes


def forget_compiled(changes: Sequence[Change]) -> None:
    """Remove what Python has compiled of files that are no more, so that no empty package is left of them."""
    for each in changes:
        if each.action != "removed" or each.path.suffix != ".py":
            continue
        cache = each.path.parent / "__pycache__"
        with suppress(OSError):  # it helps nobody, and harms nobody
            for compiled in cache.glob(f"{each.path.stem}.*.pyc"):
                compiled.unlink()
            cache.rmdir()
            each.path.parent.rmdir()


def _keep(file: Change, kept: Change) -> Change:
    assert file.before is not None
    if looks_like_ours(file.before):
        raise _edited(file)
    if kept.before not in (None, file.before):
        raise _unclear(file, kept, "both are there, and neither was written by hivebus")
    return kept.to(file.before, mode=_mode(file.path))


def _mode(path: Path) -> int:
    return os.stat(path).st_mode & 0o7777


def _edited(file: Change) -> ConfigError:
    return ConfigError(
        f"{file.path} was changed since hivebus compat install wrote it",
        cause="what was written into it would be lost",
        hint=f"move it away (mv {file.name} {file.name}.mine), then run the command again",
    )


def _unclear(file: Change, kept: Change, why: str) -> ConfigError:
    return ConfigError(
        f"cannot tell what belongs into {file.path}: there is {kept.name}, too",
        cause=why,
        hint="move away the one that is not wanted, then run the command again",
    )
