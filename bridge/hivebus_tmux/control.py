"""Asks tmux over one client that stays, where a process for each command would cost far more than the command.

The client is attached in control mode: it takes commands line by line, and prints each one's output
between ``%begin`` and ``%end``. It sees nothing of what windows show, and has no say in their size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from time import monotonic

from hivebus_tmux.conversation import Conversation, line_of
from hivebus_tmux.runner import Answer, Tmux

WORTH = 3
"""Commands behind which a client that stays is worth its while: whoever sends one message has no use for it."""
ATTACH_WITHIN = 3.0
AGAIN_AFTER = 5.0
"""Seconds until a client that could not attach is tried again: an older tmux, or a session that is not there."""
LEAVE_WITHIN = 1.0
LONGEST = 16 * 1024
"""Bytes of text in one line; a longer one is cheaper to read for a process of its own."""
_FLAGS = "ignore-size,no-output"
_HELLO, _HEARD = "display-message -p hello", Answer(0, "hello", "")


class ControlLine:
    """Runs commands over the client while there is one, and otherwise as *tmux* does.

    Args:
        tmux: how a process is started for a command.
        session: the one to attach to.
        worth: commands behind which to attach.
    """

    def __init__(self, tmux: Tmux, *, session: str, worth: int = WORTH) -> None:
        self._tmux = tmux
        self._session = session
        self._until_worth = worth
        self._not_before = 0.0
        self._conversation: Conversation | None = None
        self._attached: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def is_attached(self) -> bool:
        """Whether the next command goes over the client."""
        return self._conversation is not None and self._conversation.is_open

    async def run(self, *words: str, within: float) -> Answer:
        """Run one command, or several with ``;`` between them; raises `PaneRefused` where no process can be started."""
        deadline = monotonic() + within
        answer = await self._ask(words, within=within)
        return answer or await self._tmux.run(*words, within=deadline - monotonic())

    async def load(self, text: bytes, *then: str, buffer: str, within: float) -> Answer:
        """Put *text* into a buffer and run *then* in the same breath; raises `PaneRefused` likewise."""
        deadline = monotonic() + within
        answer = None
        if len(text) <= LONGEST:
            words = ("set-buffer", "-b", buffer, "--", text.decode(), *((";", *then) if then else ()))
            answer = await self._ask(words, within=within)
        return answer or await self._tmux.load(text, *then, buffer=buffer, within=deadline - monotonic())

    async def close(self) -> None:
        """Let the client go."""
        self._closed = True
        if self._attached is None:
            return
        if self._conversation is not None:
            self._conversation.end()
        else:
            self._attached.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._attached

    async def _ask(self, words: Sequence[str], *, within: float) -> Answer | None:
        """Ask the client; None when there is none, or it left before anything was carried out."""
        conversation = self._conversation
        answer = await conversation.ask(line_of(words), within=within) if conversation else None
        if answer is None:
            self._attach_if_worth_it()
        return answer

    def _attach_if_worth_it(self) -> None:
        self._until_worth -= 1
        is_under_way = self._attached is not None and not self._attached.done()
        if self._until_worth < 0 and not self._closed and not is_under_way and monotonic() >= self._not_before:
            # In the background: nobody's message waits for it.
            self._attached = asyncio.create_task(self._stay_attached())

    async def _stay_attached(self) -> None:
        """Attach, and return when the client is gone."""
        self._not_before = monotonic() + AGAIN_AFTER
        ours, theirs = socket.socketpair()
        with ours, contextlib.suppress(OSError):
            with theirs:
                client = await asyncio.create_subprocess_exec(
                    *self._tmux.words, "-C", "attach-session", "-f", _FLAGS, "-t", f"={self._session}:",
                    # No pipe: a client hands it on to the server, and one that stands still would keep it open.
                    stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=asyncio.subprocess.DEVNULL,
                    env=_outside_tmux(),
                )  # fmt: skip
            conversation = Conversation(ours)
            try:
                await asyncio.get_running_loop().create_connection(lambda: conversation, sock=ours)
                if await conversation.ask(_HELLO, within=ATTACH_WITHIN) == _HEARD:
                    self._conversation = conversation
                    self._not_before = 0.0
                    await conversation.ended()
            finally:
                self._conversation = None
                conversation.end()
                await _let_go(client)


async def _let_go(client: asyncio.subprocess.Process) -> None:
    """Wait for a client whose line is closed; one that waits for a server that stands still is killed."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN):
                await client.wait()
    finally:
        if client.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                client.kill()
            await client.wait()


def _outside_tmux() -> dict[str, str]:
    # In a pane of its own, a client would refuse to be nested.
    return {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}
