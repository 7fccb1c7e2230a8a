"""An entry of a list in somebody else's JSON file: added and removed as text, so that all else stays as it is.

What `add` writes says by itself what `remove` may take away: inside a container that is made here, blanks come first;
in one that was there and empty, none do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from hivebus.errors import ConfigError

_BOM = "\ufeff"
_decode = json.JSONDecoder().raw_decode
_blanks = re.compile(r"[ \t\r\n]*").match
_indent = re.compile(r"[\[{][ \t]*(\r?\n)([ \t]*)").match


class Part(NamedTuple):
    """A member of an object, or an element of an array: its key, and where it, its value and its end are."""

    key: str | None
    start: int
    value: int
    end: int


class Style(NamedTuple):
    """How a file is written: the end of its lines, one step of indentation, and what follows a colon."""

    line_end: str
    step: str
    gap: str


NEW = Style("\n", "  ", " ")
"""How a file is written that did not exist."""


def add(before: bytes | None, path: Sequence[str], entry: str, *, where: str) -> bytes:
    """Return the file with *entry* in the list at *path*, as the last one; None is no file.

    Raises:
        ConfigError: it is no JSON, or there is something else at *path*; *where* names the file.
    """
    if before is None:
        return f"{_made(path, entry, NEW, depth=0)}\n".encode()
    mark, text = _read(before, where)
    at, style = _start(text), _style(text)
    for depth, key in enumerate(path):
        member = _member(text, at, key)
        if member is None:
            value = _made(path[depth + 1 :], entry, style, depth=depth + 1, lines=_is_spread(text, at))
            return _written(mark, _with(text, at, f"{_quoted(key)}:{style.gap}{value}", style))
        at = member.value
        _check_kind(text, at, path[: depth + 1], "[" if depth + 1 == len(path) else "{", where)
    if _index(text, at, entry) is None:
        text = _with(text, at, _quoted(entry), style)
    return _written(mark, text)


def remove(before: bytes, path: Sequence[str], entry: str, *, where: str) -> bytes | None:
    """Return the file without *entry* and what was made for it; None when nothing of it was there before."""
    mark, text = _read(before, where)
    at = _start(text)
    inner = [at]
    for key in path:
        member = _member(text, at, key) if text[at] == "{" else None
        if member is None:
            return before
        at = member.value
        inner.append(at)
    found = _index(text, at, entry) if text[at] == "[" else None
    if found is None:
        return before
    while len(_parts(text, at)) == 1 and _blanks(text, at + 1).end() > at + 1:  # type: ignore[union-attr]
        inner.pop()
        if not inner:
            return None
        container, at = at, inner[-1]
        found = next(index for index, part in enumerate(_parts(text, at)) if part.value == container)
    return _written(mark, _without(text, _parts(text, at), found))


def holds(before: bytes | None, path: Sequence[str], entry: str, *, where: str) -> bool:
    """Tell whether *entry* is in the list at *path*."""
    return before is not None and remove(before, path, entry, where=where) != before


# --- Reading -----------------------------------------------------------------------------------------


def _read(data: bytes, where: str) -> tuple[str, str]:
    """Return the byte order mark, if there is one, and the text."""
    try:
        text = data.decode()
        mark = _BOM if text.startswith(_BOM) else ""
        found = json.loads(text.removeprefix(_BOM))
    except UnicodeDecodeError as error:
        raise _broken(where, data.count(b"\n", 0, error.start) + 1, "it is no UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise _broken(where, error.lineno, f"{error.msg} at column {error.colno}") from None
    except RecursionError:
        raise _broken(where, 1, "it is nested too deeply") from None
    text = text.removeprefix(_BOM)
    if not isinstance(found, dict):
        raise _broken(where, 1, f"it must hold an object, and not a {type(found).__name__}")
    return mark, text


def _broken(where: str, line: int, why: str) -> ConfigError:
    return ConfigError(f"{where}:{line} cannot be read as JSON: {why}", hint=f"correct {where}; nothing was changed")


def _check_kind(text: str, at: int, path: Sequence[str], kind: str, where: str) -> None:
    if text[at] != kind:
        line = text.count("\n", 0, at) + 1
        must = "a list" if kind == "[" else "an object"
        raise ConfigError(
            f"{where}:{line}: {'.'.join(path)} must be {must}", hint=f"correct {where}; nothing was changed"
        )


def _start(text: str) -> int:
    return _skip(text, 0)


def _skip(text: str, at: int) -> int:
    match = _blanks(text, at)
    return match.end() if match else at


def _parts(text: str, at: int) -> list[Part]:
    """Return what is in the object or array that begins at *at*; the text was found to be JSON before."""
    is_object = text[at] == "{"
    found: list[Part] = []
    at = _skip(text, at + 1)
    while text[at] not in "]}":
        start, key = at, None
        if is_object:
            key, at = _decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        value = at
        _, at = _decode(text, at)
        found.append(Part(key, start, value, at))
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def _member(text: str, at: int, key: str) -> Part | None:
    # Of two with one name, readers of JSON take the last.
    return next((part for part in reversed(_parts(text, at)) if part.key == key), None)


def _index(text: str, at: int, entry: str) -> int | None:
    elements = [_decode(text, part.value)[0] for part in _parts(text, at)]
    return elements.index(entry) if entry in elements else None


# --- Writing -----------------------------------------------------------------------------------------


def _style(text: str) -> Style:
    indented = _indent(text, _start(text))
    gap = "" if re.search(r'":\S', text) and not re.search(r'":\s', text) else " "
    return Style(indented[1] if indented else "\n", (indented[2] if indented else "") or "  ", gap)


def _is_spread(text: str, at: int) -> bool:
    """Tell whether what is written into this container goes over several lines."""
    return "\n" in _lead(text, at) if _parts(text, at) else "\n" in text.strip() or text.strip() == "{}"


def _lead(text: str, at: int) -> str:
    """Return the blanks in front of the last part."""
    last = _parts(text, at)[-1].start
    return text[len(text[:last].rstrip(" \t\r\n")) : last]


def _made(path: Sequence[str], entry: str, style: Style, *, depth: int, lines: bool = True) -> str:
    """Return the JSON of the containers of *path*, and the entry in the innermost."""
    opening, closing = ("{", "}") if path else ("[", "]")
    if path:
        inner = _made(path[1:], entry, style, depth=depth + 1, lines=lines)
        content = f"{_quoted(path[0])}:{style.gap}{inner}"
    else:
        content = _quoted(entry)
    if not lines:
        return f"{opening} {content} {closing}"
    outer = style.line_end + style.step * depth
    return f"{opening}{outer}{style.step}{content}{outer}{closing}"


def _with(text: str, at: int, piece: str, style: Style) -> str:
    parts = _parts(text, at)
    if not parts:
        return text[: at + 1] + piece + text[at + 1 :]
    lead = _lead(text, at) or style.gap
    end = parts[-1].end
    return f"{text[:end]},{lead}{piece}{text[end:]}"


def _without(text: str, parts: Sequence[Part], index: int) -> str:
    start, end = parts[index].start, parts[index].end
    if index:
        start = parts[index - 1].end
    elif len(parts) > 1:
        end = parts[1].start
    return text[:start] + text[end:]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _written(mark: str, text: str) -> bytes:
    return f"{mark}{text}".encode()
