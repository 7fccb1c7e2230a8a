"""How a message looks in a window, and how it is found there again.

The safe frame is a header and the text::

    [hb:0b9c4f0e-... pm-agent>frontend-agent task_assignment 23]
    Implement the message bus

The number says how many characters of text follow, so a text that looks like a header is text. Several
frames make one paste, a newline between them. The legacy text is the predecessor's, word for word, and
a last line by which the comparison recognises it; whoever can write in such a window can forge one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from hivebus import limits
from hivebus_tmux.text import Said, fingerprint, sanitise

_LEGACY_HEAD = "🤖 MESSAGE FROM {sender}:\n\n"
_LEGACY_TAIL = "\n\nPlease respond when convenient. This message was sent automatically."

_header = re.compile(
    rf"\[hb:(?P<id>{limits.MESSAGE_ID_PATTERN}) (?P<sender>{limits.NAME_PATTERN})>(?P<recipient>{limits.NAME_PATTERN})"
    rf" (?P<type>{limits.TYPE_PATTERN}) (?P<length>\d{{1,7}})\]\n"
).match
_legacy_head = re.compile(_LEGACY_HEAD.format(sender="(?P<sender>[^\n]*)")).search
_legacy_tail = re.compile(f"{re.escape(_LEGACY_TAIL)}\n\\[hb:(?P<id>{limits.MESSAGE_ID_PATTERN})\\]").search


class Read(NamedTuple):
    """A message as it was read from a terminal.

    Attributes:
        driver: how it had been written.
        recipient: as the header says; a legacy text does not say it.
        text: what was there to read.
        whole: whether it has its beginning and its end.
    """

    message_id: str
    driver: Literal["safe", "legacy"]
    sender: str
    recipient: str | None
    message_type: str | None
    text: str
    whole: bool

    @property
    def fingerprint(self) -> str:
        """What the sender expects when all arrived."""
        return fingerprint(self.text)


def safe_frame(message_id: str, said: Said, *, recipient: str) -> str:
    """Return one message as the safe driver types it."""
    text = sanitise(said.text)
    return f"[hb:{message_id} {said.sender}>{recipient} {said.message_type} {len(text)}]\n{text}"


def joined(frames: Sequence[str]) -> bytes:
    """Return what is pasted for several messages."""
    return "\n".join(frames).encode()


def legacy_text(message_id: str, said: Said) -> str:
    """Return one message as the predecessor typed it: not sanitised, and its id at the end."""
    return f"{_LEGACY_HEAD.format(sender=said.sender.upper())}{said.text}{_LEGACY_TAIL}\n[hb:{message_id}]"


def read_paste(pasted: bytes) -> Iterator[Read]:
    """Yield the messages of one paste; after a damaged one nothing in it can be trusted, and it is the last."""
    text = pasted.decode(errors="replace")
    at = 0
    while header := _header(text, at):
        length = int(header["length"])
        end = header.end() + length
        # After the text there is another frame, or nothing.
        whole = len(text) == end or bool(text[end : end + 1] == "\n" and _header(text, end + 1))
        yield Read(
            header["id"],
            "safe",
            header["sender"],
            header["recipient"],
            header["type"],
            text[header.end() : end] if whole else text[header.end() :],
            whole,
        )
        if not whole:
            return
        at = end + 1


def read_typed(typed: bytes) -> tuple[list[Read], bytes]:
    """Return the legacy messages in what was typed, and the rest, in which another one may have begun."""
    found: list[Read] = []
    # A legacy paste has a carriage return for each newline.
    text = typed.replace(b"\r", b"\n").decode(errors="surrogateescape")
    while tail := _legacy_tail(text):
        before = text[: tail.start()]
        head = _legacy_head(before)
        body = before[head.end() :] if head else before
        sender = head["sender"].lower() if head else ""
        found.append(Read(tail["id"], "legacy", sender, None, None, _readable(body), head is not None))
        text = text[tail.end() :]
    return found, text.encode(errors="surrogateescape")


def _readable(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")
