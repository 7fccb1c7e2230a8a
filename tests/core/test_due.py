"""An absolute time becomes a delay, or is refused with its field, its value and the rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

import hivebus
from hivebus import Bus, due
from hivebus.due import check_at, delay_until
from hivebus.errors import InvalidMessage

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_the_same_moment_in_two_time_zones_is_one_moment() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert check_at(NOON) == check_at(elsewhere) == NOON.timestamp()


def test_the_delay_is_counted_from_the_time_that_is_given() -> None:
    assert delay_until(NOON.timestamp(), now=NOON.timestamp() - 90) == 90


def test_the_past_is_now() -> None:
    assert delay_until(NOON.timestamp(), now=NOON.timestamp() + 5) == 0


def test_without_a_time_of_the_server_the_clock_of_this_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "_this_machine", lambda: NOON.timestamp() - 7)
    assert delay_until(NOON.timestamp(), now=None) == 7


@pytest.mark.parametrize(
    ("at", "delay", "rule"),
    [
        (datetime(2026, 11, 23, 12, 0), 0, "must have a time zone"),  # noqa: DTZ001 - that is what is refused
        ("2026-11-23T12:00:00Z", 0, "must be a datetime"),
        (1_800_000_000, 0, "must be a datetime"),
        (NOON, 5, "together with delay = 5"),
    ],
    ids=["naive", "text", "number", "delay as well"],
)
async def test_what_cannot_be_meant_is_refused_everywhere(at: object, delay: float, rule: str) -> None:
    async with Bus("memory://", agent="pm") as bus:
        message = (await bus.send("dev", "x")).message
        for call in (bus.send("dev", "x", at=at, delay=delay), bus.send_message(message, at=at, delay=delay)):  # type: ignore[arg-type]
            with pytest.raises(InvalidMessage, match=rule) as refused:
                await call
            assert refused.value.field == "at"
        assert (await bus.queue("dev")).waiting == 1


def test_a_script_is_told_too() -> None:
    naive = datetime(2026, 11, 23, 12, 0)  # noqa: DTZ001 - that is what is refused
    with pytest.raises(InvalidMessage, match="must have a time zone"):
        hivebus.send("dev", "x", from_agent="pm", url="memory://", at=naive)


async def test_more_than_a_year_ahead_is_refused() -> None:
    async with Bus("memory://", agent="pm") as bus:
        with pytest.raises(InvalidMessage, match="within 365 days") as refused:
            await bus.send("dev", "x", at=datetime.now(UTC) + timedelta(days=400))
    assert refused.value.field == "at"


async def test_a_message_that_would_expire_before_its_time_is_refused() -> None:
    async with Bus("memory://", agent="pm") as bus:
        with pytest.raises(InvalidMessage, match="expires unread"):
            await bus.send("dev", "x", at=datetime.now(UTC) + timedelta(hours=2), ttl=3600)


async def test_the_future_is_scheduled_and_the_past_is_stored() -> None:
    async with Bus("memory://", agent="pm") as bus:
        assert (await bus.send("dev", "x", at=datetime.now(UTC) + timedelta(hours=2))).state == "scheduled"
        assert (await bus.send("dev", "x", at=datetime.now(UTC) - timedelta(hours=2))).state == "stored"
