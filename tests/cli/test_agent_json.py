"""A list entry in any JSON file: what is added is all that is added, and taking it out restores every byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hivebus.cli.agent_files import json_list

PATH = ("permissions", "allow")

words = st.sampled_from(["permissions", "allow", "ask", "x", 'quo"te', "[{,:}]", "ä\u2028"]) | st.text(max_size=3)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
)
lists = st.lists(words, max_size=3)
permissions = st.dictionaries(words, values, max_size=3).flatmap(
    lambda others: lists.map(lambda entries: {**others, "allow": entries}) | st.just(without(others, "allow"))
)
documents = st.dictionaries(words, values, max_size=3).flatmap(
    lambda others: (
        permissions.map(lambda allowed: {"permissions": allowed, **without(others, "permissions")})
        | permissions.map(lambda allowed: {**without(others, "permissions"), "permissions": allowed})
        | st.just(without(others, "permissions"))
    )
)


def without(members: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name != key}


@st.composite
def files(draw: st.DrawFn) -> bytes:
    indent = draw(st.sampled_from([None, 0, 1, 2, 4, "\t"]))
    separators = draw(st.sampled_from([None, (",", ":"), (" , ", " : ")]))
    text = json.dumps(
        draw(documents), indent=indent, separators=separators, ensure_ascii=draw(st.booleans()), allow_nan=False
    )
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    around = draw(st.sampled_from(["", "\n", " ", "\r\n"]))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    return f"{mark}{around}{text}{around}".encode()


@given(files(), st.sampled_from(["Bash(hivebus:*)", 'quo"te\\']))
def test_any_file_gets_the_entry_and_nothing_else_and_is_restored(before: bytes, entry: str) -> None:
    if json_list.holds(before, PATH, entry, where="f"):
        assert json_list.add(before, PATH, entry, where="f") == before
        return
    after = json_list.add(before, PATH, entry, where="f")
    was, now = (json.loads(each.decode("utf-8-sig")) for each in (before, after))
    entries = was.get("permissions", {}).get("allow", [])
    assert now == {**was, "permissions": {**was.get("permissions", {}), "allow": [*entries, entry]}}
    assert json_list.holds(after, PATH, entry, where="f")
    assert json_list.add(after, PATH, entry, where="f") == after
    assert json_list.remove(after, PATH, entry, where="f") == before


def test_a_list_that_is_none_holds_nothing() -> None:
    for text in (b'{"permissions": {"allow": "x"}}', b'{"permissions": []}', b"{}"):
        assert not json_list.holds(text, PATH, "x", where="f")
        assert json_list.remove(text, PATH, "x", where="f") == text


def test_an_entry_that_was_moved_is_found_and_its_neighbours_stay() -> None:
    for entries in (["E", "a", "b"], ["a", "E", "b"], ["a", "b", "E"]):
        for indent in (None, 2):
            text = json.dumps({"permissions": {"allow": entries}}, indent=indent).encode()
            left = json_list.remove(text, PATH, "E", where="f")
            assert left == json.dumps({"permissions": {"allow": ["a", "b"]}}, indent=indent).encode()
