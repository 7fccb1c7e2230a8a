"""Receipts: frozen, true, and no more than what was proven."""

from __future__ import annotations

import pytest

from hivebus.envelope import Envelope, compose
from hivebus.message import Message, message_of
from hivebus.receipt import Receipt
from hivebus.transport import Published

SENT = compose(from_agent="pm-agent", to_agent="dev", content="hello")


def receipt(*, sent: Envelope | Message = SENT, **published: object) -> Receipt:
    return Receipt(sent, Published(**{"state": "stored", **published}), leg="redis", durability="fsync")  # type: ignore[arg-type]


def test_a_receipt_tells_what_the_transport_proved() -> None:
    got = receipt(state="duplicate", evidence="taken")
    assert (got.message_id, got.state, got.evidence) == (SENT.message_id, "duplicate", "taken")
    assert (got.durability, got.legs, got.notes) == ("fsync", {"redis": "taken"}, ())


def test_a_receipt_names_the_road_that_acted_and_those_that_follow() -> None:
    got = receipt(leg="tmux", others=("redis",))
    assert got.legs == {"tmux": "accepted", "redis": None}


@pytest.mark.parametrize("state", ["stored", "duplicate", "scheduled"])
def test_a_receipt_is_always_true(state: str) -> None:
    assert receipt(state=state)


@pytest.mark.parametrize("name", ["state", "message_id", "evidence", "notes", "durability", "another"])
def test_a_receipt_is_frozen(name: str) -> None:
    with pytest.raises(AttributeError, match="no setter|no attribute 'another'"):
        setattr(receipt(), name, "changed")


def test_the_message_is_made_when_somebody_looks_and_only_once() -> None:
    got = receipt()
    assert isinstance(got._sent, Envelope)
    assert got.message == message_of(SENT)
    assert got.message is got.message


def test_a_message_that_was_given_comes_back_itself() -> None:
    message = message_of(SENT)
    assert receipt(sent=message).message is message


def test_a_receipt_shows_what_it_is() -> None:
    assert repr(receipt()) == f"Receipt('{SENT.message_id}', state='stored', evidence='accepted')"


@pytest.mark.parametrize(
    ("idle", "note"),
    [
        (None, "dev has never read its inbox; the message waits there"),
        (60, "dev was last seen 1 m ago; the message waits in its inbox"),
        (14 * 60 + 5, "dev was last seen 14 m ago; the message waits in its inbox"),
        (7300, "dev was last seen 2 h ago; the message waits in its inbox"),
        (200_000, "dev was last seen 2 d ago; the message waits in its inbox"),
    ],
)
def test_a_sender_learns_that_nobody_reads(idle: float | None, note: str) -> None:
    assert receipt(readers=0, idle=idle).notes == (note,)


def test_a_sender_is_not_told_what_is_usual_or_not_known() -> None:
    assert receipt(readers=1, idle=1000).notes == ()
    assert receipt(readers=0, idle=59).notes == ()
    assert receipt(readers=None, idle=None).notes == ()


def test_a_note_names_every_recipient() -> None:
    sent = compose(from_agent="pm-agent", to_agent=["dev", "ops"], content="hello")
    assert receipt(sent=sent, readers=0).notes[0].startswith("dev, ops has never")


@pytest.mark.parametrize(
    ("idle", "note"),
    [
        (None, "nobody has ever read @architects; the message waits for its first member"),
        (300.0, "nobody reads @architects, and nobody has for 5 m; the message waits for a member"),
    ],
)
def test_a_sender_is_told_that_nobody_reads_a_pool(idle: float | None, note: str) -> None:
    sent = compose(from_agent="pm", to_agent="@architects", content="x")
    assert Receipt(sent, Published("stored", "accepted", idle, 0), leg="redis").notes == (note,)
    assert Receipt(sent, Published("stored", "accepted", 2.0, 0), leg="redis").notes == ()
