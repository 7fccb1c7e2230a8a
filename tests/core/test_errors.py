"""Errors: one tree, and each says what happened, the likely cause and the next step."""

from __future__ import annotations

import inspect
import pickle

import pytest

from hivebus import errors
from hivebus.errors import HivebusError, InvalidMessage, Refused, Reject, one_line, shorten

ALL = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]


def test_every_error_is_in_the_tree_and_a_reject_is_not() -> None:
    assert {each.__name__ for each in ALL if not issubclass(each, HivebusError)} == {"Reject"}
    refusals = {each.__name__ for each in ALL if issubclass(each, Refused) and each is not Refused}
    assert refusals == {"QueueFull", "BrokerFull", "NotPermitted", "NotFound", "Conflict", "QuotaExceeded"}


def test_the_page_shows_the_whole_tree() -> None:
    assert errors.__doc__
    for each in ALL:
        assert each.__name__ in errors.__doc__


def test_an_error_says_what_happened_then_why_and_then_what_to_do() -> None:
    error = HivebusError("the server is away", cause="nothing listens there", hint="hivebus up")
    assert str(error) == "the server is away (nothing listens there) -> hivebus up"
    assert (error.what, error.cause, error.hint) == ("the server is away", "nothing listens there", "hivebus up")
    assert str(HivebusError("the server is away")) == "the server is away"


def test_an_invalid_message_names_field_value_and_rule() -> None:
    error = InvalidMessage(field="ttl", value=-1, rule="must be positive")
    assert (error.field, error.value, error.rule, error.why) == ("ttl", "-1", "must be positive", "ttl")
    assert str(error).startswith("invalid message: ttl = -1: must be positive -> ")
    assert InvalidMessage(field="body", value=1, rule="x", why="too_large").why == "too_large"


@pytest.mark.parametrize(
    "error",
    [
        InvalidMessage(field="ttl", value=-1, rule="must be more"),
        errors.QueueFull("full", hint="wait", depth=3),
        errors.QuotaExceeded("too much", sender="pm", limit="1/s", retry_after=1.5),
        errors.NoAnswer("none", cause="nobody is there", message_id="m-1"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: HivebusError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


def test_a_reject_has_a_reason() -> None:
    assert Reject("not mine").reason == str(Reject("not mine")) == "not mine"
    assert Reject().reason == "rejected"


@pytest.mark.parametrize(
    "value",
    ["x" * 1000, b"\xff" * 1000, "\x1b[31m\n", b"\x1b", 10**5000, list(range(1000))],
    ids=["text", "bytes", "an escape sequence", "an escape", "a huge number", "a list"],
)
def test_a_value_is_shown_short_and_on_one_line(value: object) -> None:
    shown = shorten(value)
    assert shown and len(shown) <= 60 and shown.isprintable()


def test_a_reason_is_one_short_line_that_can_be_written() -> None:
    assert one_line("first\n\tsecond") == "first second"
    assert one_line("x" * 500) == "x" * 199 + "…"
    assert one_line("a \udcff b").encode() == b"a \\udcff b"
