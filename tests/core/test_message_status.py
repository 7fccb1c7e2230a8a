"""Status: what the places of one message add up to."""

from __future__ import annotations

from typing import get_args

import pytest

from hivebus.message_status import PROGRESS, status_of
from hivebus.transport import Located, State


def place(inbox: str, state: State, **facts: object) -> Located:
    return Located(message_id="id", inbox=inbox, state=state, **facts)  # type: ignore[arg-type]


def test_an_id_that_no_inbox_knows_is_unknown() -> None:
    status = status_of("id", [])
    assert (status.message_id, status.state, status.attempts, status.recipients) == ("id", "unknown", 0, {})


def test_one_place_speaks_for_itself() -> None:
    only = place("dev", "dead_lettered", attempts=4, consumer="c", reason="no_handler")
    status = status_of("id", [only])
    assert (status.state, status.attempts, status.consumer, status.reason) == ("dead_lettered", 4, "c", "no_handler")
    assert status.recipients == {"dev": only}


def test_every_state_has_its_place_in_the_order() -> None:
    assert sorted(PROGRESS) == sorted(get_args(State))


@pytest.mark.parametrize(
    ("states", "speaks"),
    [
        (("acknowledged", "queued"), "queued"),
        (("acknowledged", "dead_lettered"), "dead_lettered"),
        (("delivered", "retrying"), "retrying"),
        (("acknowledged", "acknowledged"), "acknowledged"),
    ],
)
def test_who_needs_attention_first_speaks_for_all(states: tuple[State, State], speaks: State) -> None:
    status = status_of("id", [place("a", states[0]), place("b", states[1])])
    assert status.state == speaks
    assert sorted(status.recipients) == ["a", "b"]
