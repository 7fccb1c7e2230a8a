"""Text for a terminal: nothing in it is obeyed, and everything is still there to read."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebus_tmux.text import NOBODY, Said, fingerprint, said, sanitise

from .ground import message

ANY_TEXT = st.text(st.characters(codec=None))


@given(ANY_TEXT)
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    found = {unicodedata.category(character) for character in sanitise(text).replace("\n", "")}
    assert not found & {"Cc", "Cs"}


@given(ANY_TEXT)
def test_doing_it_twice_changes_nothing_more(text: str) -> None:
    once = sanitise(text)
    assert sanitise(once) == once
    assert fingerprint(once) == fingerprint(text)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert sanitise(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("\ta", "    a"),
        ("\x1b[201~\x03\x00", "␛[201~␃␀"),
        ("\x7f", "␡"),
        ("\x9b31m", "␛[31m"),
        ("e\u0301", "é"),
        ("\ud800", "\ufffd"),
    ],
)
def test_what_a_terminal_would_obey_becomes_visible(text: str, becomes: str) -> None:
    assert sanitise(text) == becomes


def test_a_message_says_who_what_and_the_text() -> None:
    assert said(message("frontend-agent", "hello").data) == Said("pm-agent", "task_assignment", "hello")


def test_content_that_is_no_text_is_shown_as_json_of_one_form() -> None:
    one, other = message("a", {"b": [1, "é"], "a": None}), message("a", {"a": None, "b": [1, "é"]})
    assert said(one.data).text == said(other.data).text == '{"a":null,"b":[1,"é"]}'


@pytest.mark.parametrize("data", [b"\xff\x00sealed", b'"text"', b"[]", b'{"body": {}}', b"[" * 100_000])
def test_what_a_codec_made_unreadable_is_shown_as_it_travels(data: bytes) -> None:
    assert said(data) == Said(NOBODY, NOBODY, data.decode(errors="replace"))


def test_a_name_that_is_none_cannot_become_a_part_of_a_header() -> None:
    data = json.dumps({"from_agent": "a]\nb", "message_type": 7, "body": {"content": "x"}}).encode()
    assert said(data) == Said(NOBODY, NOBODY, "x")
