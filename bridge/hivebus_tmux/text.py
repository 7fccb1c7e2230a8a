"""What of a message is typed into a window, so that it stays text there."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any, NamedTuple

from hivebus import limits
from hivebus.errors import InvalidMessage

NOBODY = "unknown"
"""Stands where encoded data does not say who or what."""

# All C0 but tab and newline, DEL, C1, and halves of characters, which UTF-8 cannot hold.
_hostile = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]").sub


class Said(NamedTuple):
    """What a message says, without its envelope; *text* is as it was written."""

    sender: str
    message_type: str
    text: str


def said(data: bytes) -> Said:
    """Return what an encoded message says.

    Content that is no string is shown as JSON. What a codec made unreadable is shown as it travels.
    """
    message = _parsed(data)
    if message is None:
        return Said(NOBODY, NOBODY, data.decode(errors="replace"))
    content = message["body"]["content"]
    text = content if isinstance(content, str) else _canonical(content)
    return Said(_name(message.get("from_agent")), _type(message.get("message_type")), text)


def sanitise(text: str) -> str:
    """Return *text* with nothing in it that a terminal would obey, and everything still visible.

    Sanitising twice changes nothing more, so a reader who does it again finds the same fingerprint.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return unicodedata.normalize("NFC", _hostile(_picture, text))


def fingerprint(text: str) -> str:
    """Return what recognises a text after it was read from a terminal."""
    return hashlib.sha256(sanitise(text).encode()).hexdigest()[:16]


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    # A C1 character means the same as ESC and a letter.
    return f"\u241b{chr(code - 0x40)}" if code < 0xA0 else "\ufffd"


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    body = message.get("body") if isinstance(message, dict) else None
    return message if isinstance(body, dict) and "content" in body else None


def _canonical(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _name(value: object) -> str:
    try:
        return limits.check_name(value, field="from_agent")
    except InvalidMessage:
        return NOBODY


def _type(value: object) -> str:
    try:
        return limits.check_message_type(value)
    except InvalidMessage:
        return NOBODY
