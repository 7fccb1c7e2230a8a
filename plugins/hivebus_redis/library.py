"""The server-side functions: their text, and names that carry a version.

The version is a hash of the text. Processes with different releases of hivebus load their own
libraries side by side, and neither changes what the other runs.
"""

from __future__ import annotations

import os
from zlib import crc32

PARTS = (
    "common",
    "find",
    "forward",
    "depth",
    "publish",
    "retention",
    "losses",
    "receive",
    "bulk",
    "pool",
    "look",
    "settle",
    "inspect",
    "sweep",
    "history",
    "temporary",
    "quota",
    "directory",
    "register",
)


def read_prefix() -> str:
    """Return what the name of each function of this release starts with."""
    return f"hb_{_version(_text())}_"


def read_source() -> str:
    """Return the library of this release, as ``FUNCTION LOAD`` takes it."""
    text = _text()
    version = _version(text)
    return f"#!lua name=hivebus_{version}\n{text}\nregister_all('hb_{version}_')\n"


def _version(text: str) -> str:
    # Not hashlib, whose import costs a one-shot sender more than reading the files does.
    return f"{crc32(text.encode()):08x}{len(text):x}"


def _text() -> str:
    folder = os.path.join(os.path.dirname(__file__), "functions")
    parts = []
    for part in PARTS:
        with open(os.path.join(folder, f"{part}.lua"), encoding="utf-8") as file:
            parts.append(file.read())
    return "\n".join(parts)
