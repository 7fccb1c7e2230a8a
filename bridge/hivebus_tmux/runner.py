"""Runs one tmux command with a deadline, and says what it printed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import IO, NamedTuple, Protocol

from hivebus_tmux.errors import PaneRefused

_NOBODY = ("no server running", "error connecting", "server exited", "lost server")
"""What a client says when there is no server, or none any more."""


class Answer(NamedTuple):
    """What a client printed; *code* is None when it was killed because its time was up.

    A code of 0 says that tmux understood the words, and no more: whether it did anything must be printed.
    """

    code: int | None
    out: str
    err: str

    @property
    def timed_out(self) -> bool:
        """Whether the server did not answer in time."""
        return self.code is None

    @property
    def never_reached(self) -> bool:
        """Whether there was no server to carry it out."""
        return self.code != 0 and self.err.startswith(_NOBODY[:2])

    @property
    def why(self) -> str:
        """What the client complained about, on one line."""
        return " ".join(self.err.split()) or f"tmux ended with {self.code} and printed nothing that was expected"


class Runner(Protocol):
    """Whatever runs commands of one tmux server."""

    async def run(self, *words: str, within: float) -> Answer:
        """Run one command, or several with ``;`` between them."""

    async def load(self, text: bytes, *then: str, buffer: str, within: float) -> Answer:
        """Put *text* into a buffer and run *then* in the same breath."""


class Tmux:
    """One tmux server, asked by a process for each command; *server* are the words that select it: ``-L NAME``.

    Attributes:
        words: how every such process begins.
    """

    def __init__(self, server: Sequence[str]) -> None:
        # -u: without it, and without a UTF-8 locale, names come back as underscores.
        self.words = ("tmux", "-u", *server)

    async def run(self, *words: str, within: float) -> Answer:
        """Run one command; raises `PaneRefused` when it cannot even be started."""
        return await self._run(words, within=within, stdin=b"")

    async def load(self, text: bytes, *then: str, buffer: str, within: float) -> Answer:
        """Put *text* into a buffer and run *then* in the same breath; raises `PaneRefused` likewise."""
        return await self._run(("load-buffer", "-b", buffer, "-", ";", *then), within=within, stdin=text)

    async def _run(self, words: Sequence[str], *, within: float, stdin: bytes) -> Answer:
        with contextlib.ExitStack() as files:
            try:
                given, out, err = (files.enter_context(_file()) for _ in range(3))
                given.write(stdin)
                given.seek(0)
                process = await asyncio.create_subprocess_exec(*self.words, *words, stdin=given, stdout=out, stderr=err)
            except OSError as error:
                raise _not_started(error) from None
            code = await _ended(process, within=within)
            return Answer(None, "", "") if code is None else Answer(code, _text(out), _text(err))


async def _ended(process: asyncio.subprocess.Process, *, within: float) -> int | None:
    """Return the exit code, or None for a client that was killed because its time was up."""
    try:
        async with asyncio.timeout(max(0.0, within)):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _file() -> IO[bytes]:
    # No pipe: a client hands its pipes on to the server, and one that stands still keeps them open. Where that
    # is possible no disk either, which may be full, and on which messages have no place.
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("hivebus-tmux"), "w+b")
    return TemporaryFile()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _not_started(error: OSError) -> PaneRefused:
    if error.errno == errno.E2BIG:
        return PaneRefused(
            "the text is too long for a command line",
            reason="too_large",
            cause="the legacy driver hands it to tmux as a word",
            hint="put it in a file and send its path, or use driver=safe",
        )
    return PaneRefused(
        "tmux cannot be started", reason="no_tmux", cause=str(error), hint="install tmux: apt-get install tmux"
    )
