"""What is said between us and a tmux client in control mode: lines of commands, and blocks of output."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Sequence

from hivebus_tmux.runner import Answer

LOST = Answer(1, "", "lost server")
TIMED_OUT = Answer(None, "", "")
PEEKED = 4096
"""Bytes; a client says in fewer that it leaves."""
_SPECIAL = '\\"$~#'


def line_of(words: Sequence[str]) -> str:
    """Return words as one line of commands: a ``;`` of its own stands between two of them."""
    return " ".join(word if word == ";" else f'"{_quoted(word)}"' for word in words)


def _quoted(word: str) -> str:
    for each in _SPECIAL:
        word = word.replace(each, f"\\{each}")
    return word.replace("\n", "\\n")


class _Asked:
    """One line whose answer is awaited: blocks are its, until one that says *token*."""

    def __init__(self, line: str, token: str, answer: asyncio.Future[Answer | None]) -> None:
        self.line = line
        self.token = token
        self.answer = answer
        self.out: list[str] = []
        self.errors: list[str] = []
        self.is_begun = False

    def settle(self, answer: Answer | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Conversation(asyncio.Protocol):
    """One client. Lines are carried out one behind the other, so each gets the output of its own commands.

    Args:
        line: our end of it.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._asked: deque[_Asked] = deque()
        self._unsaid: list[_Asked] = []
        self._nonce = os.urandom(8).hex()
        self._count = 0
        self._rest = b""
        self._block: list[str] | None = None
        self._mark = ""
        self._transport: asyncio.Transport | None = None
        self._was_sent_away = False
        self._ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether commands still reach the client; asked of the line itself, since the loop may not know yet."""
        return self._transport is not None and not self._transport.is_closing() and not _is_hung_up(self._line)

    async def ask(self, line: str, *, within: float) -> Answer | None:
        """Have one line of commands carried out; None when certainly none of them was.

        Where the answer does not come in time the conversation is over, so that nothing queues up behind a server that
        stands still. What was asked may have been carried out then, and also where the client was lost meanwhile.
        """
        if self._transport is None or not self.is_open:
            return None
        self._count += 1
        asked = _Asked(line, f"{self._nonce}-{self._count}", asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._unsaid.append(asked)
        if len(self._unsaid) == 1:
            # What is asked in one turn of the loop is said together: a client is woken once, and its server too.
            asyncio.get_running_loop().call_soon(self._say)
        try:
            async with asyncio.timeout(max(0.0, within)):
                return await asked.answer
        except TimeoutError:
            self.end()
            return TIMED_OUT

    async def ended(self) -> None:
        """Return when the client is gone."""
        await self._ended.wait()

    def end(self) -> None:
        """Say no more."""
        if self._transport is not None:
            self._transport.abort()

    def _say(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        if self._transport is None or not self.is_open:
            self._leave_out(unsaid)
            return
        # The token is a line of its own: it is carried out also where the one before it fails.
        lines = (f'{asked.line}\ndisplay-message -p "{asked.token}"\n' for asked in unsaid)
        self._transport.write("".join(lines).encode())

    def _leave_out(self, unsaid: Sequence[_Asked]) -> None:
        for asked in unsaid:
            self._asked.remove(asked)
            asked.settle(None)

    # --- what asyncio calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the line."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read whole lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._read(line.decode(errors="replace"))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        self._ended.set()
        self._leave_out(self._unsaid)
        self._unsaid.clear()
        while self._asked:
            asked = self._asked.popleft()
            # A server that sends its client away has said before what it did for it.
            asked.settle(None if self._was_sent_away and not asked.is_begun else LOST)

    # --- blocks ------------------------------------------------------------------------------

    def _read(self, line: str) -> None:
        if self._block is None:
            kind, _, mark = line.partition(" ")
            if kind == "%begin":
                self._begin(mark)
            elif line == "%exit":
                self._was_sent_away = True
        elif line == f"%end {self._mark}":
            self._take(self._block, failed=False)
        elif line == f"%error {self._mark}":
            self._take(self._block, failed=True)
        else:
            self._block.append(line)

    def _begin(self, mark: str) -> None:
        self._block, self._mark = [], mark
        if self._asked and _is_ours(mark):
            self._asked[0].is_begun = True

    def _take(self, block: list[str], *, failed: bool) -> None:
        self._block = None
        if not self._asked or not _is_ours(self._mark):
            return
        asked = self._asked[0]
        if block == [asked.token] and not failed:
            self._asked.popleft().settle(_answer(asked))
        else:
            (asked.errors if failed else asked.out).extend(block)


def _is_ours(mark: str) -> bool:
    # The last word of a mark is 1 for what was asked here; attaching itself has a block too.
    return mark.endswith(" 1")


def _is_hung_up(line: socket.socket) -> bool:
    try:
        coming = line.recv(PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return not coming or b"%exit" in coming


def _answer(asked: _Asked) -> Answer:
    return Answer(1 if asked.errors else 0, "\n".join(asked.out), "\n".join(asked.errors))
