"""A change of one file: shown as a diff, and written in one step or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path

from hivebus.errors import ConfigError, Conflict

Content = bytes | None
"""What a file holds; None when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a file holds and what it shall hold.

    Attributes:
        path: as the user knows it; it may be a symbolic link, which stays one.
        name: how it is called within its project.
        mode: the permissions of a file that is created; None for what is usual.
    """

    path: Path
    name: str
    before: Content
    after: Content
    mode: int | None = None

    @property
    def action(self) -> str:
        """What is done to the file, in a word."""
        if self.before == self.after:
            return "unchanged"
        if self.before is None:
            return "created"
        return "removed" if self.after is None else "updated"

    def to(self, content: Content, *, mode: int | None = None) -> Change:
        """Return the change to *content*."""
        return replace(self, after=content, mode=mode)

    def back(self) -> Change:
        """Return the change that undoes this one."""
        return replace(self, before=self.after, after=self.before)

    def diff(self) -> str:
        """Return the change as a unified diff."""
        old, new = ([] if each is None else _lines(each) for each in (self.before, self.after))
        source, target = ("/dev/null" if each is None else self.name for each in (self.before, self.after))
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in unified_diff(old, new, source, target)
        )


def read(project: Path, name: str) -> Change:
    """Return a file of *project*, not changed yet; raises `ConfigError` for one that cannot be read."""
    path = project / name
    try:
        content: Content = path.read_bytes()
    except FileNotFoundError:
        content = None
    except OSError as error:
        raise _refused(path, "read", error) from None
    return Change(path=path, name=name, before=content, after=content)


def apply(changes: Sequence[Change]) -> None:
    """Make all *changes*, or none of them.

    Raises:
        ConfigError: a file cannot be written.
        Conflict: somebody changed a file since it was read.
    """
    done: list[Change] = []
    try:
        for each in changes:
            _write(each)
            done.append(each)
    except Exception:
        for each in reversed(done):
            _write(each.back())
        raise


def _write(change: Change) -> None:
    # A link is followed: what it points to is replaced, and it stays a link.
    target = Path(os.path.realpath(change.path))
    try:
        now = target.read_bytes() if target.exists() else None
        if now != change.before:
            raise Conflict(f"{change.path} was changed by somebody else meanwhile", hint="run the same command again")
        if change.after is None:
            target.unlink(missing_ok=True)
            _remove_empty_folders(change)
        elif change.after != change.before:
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(target, change.after, mode=change.mode)
    except OSError as error:
        raise _refused(change.path, "written", error) from None


def _replace(target: Path, data: bytes, *, mode: int | None) -> None:
    exists = target.exists()
    if exists and not os.access(target, os.W_OK):
        raise PermissionError(13, "it is write-protected")
    with _temporary(target) as (handle, name):
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exists:
            kept = target.stat()
            os.chmod(name, kept.st_mode & 0o7777)
            with suppress(PermissionError):  # only root may give a file to somebody else
                os.chown(name, kept.st_uid, kept.st_gid)
        else:
            os.chmod(name, 0o666 & ~_umask() if mode is None else mode)
        os.replace(name, target)


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[int, str]]:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        yield handle, name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _remove_empty_folders(change: Change) -> None:
    """Remove the folders below the project that the file was alone in."""
    for folder in list(change.path.parents)[: len(Path(change.name).parents) - 1]:
        with suppress(OSError):  # there is something else in it
            folder.rmdir()


def _lines(data: bytes) -> list[str]:
    # Not splitlines(): to a diff, a line ends with a line feed and with nothing else.
    return re.findall(r"[^\n]*\n|[^\n]+", data.decode(errors="replace"))


def _refused(path: Path, what: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be {what}: {error.strerror or error}",
        hint=f"look at its permissions: ls -ld {path}; nothing was changed",
    )
