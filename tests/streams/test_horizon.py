"""What an idle reader waits behind: never ahead of an entry that it was not handed."""

from __future__ import annotations

from collections.abc import Sequence

from hivebus.transport import Delivery
from hivebus_redis.horizon import Horizon

IDLE = (b"0-0", b"0-0", b"1000-5", b"0-0", b"0-0", b"900-0")


def handed(*places: str) -> Sequence[Delivery]:
    return [Delivery(f"{place}/1/id", b"", 1, 0, 0, False, int(place[0])) for place in places]


def test_it_moves_behind_the_last_entry_of_each_level() -> None:
    horizon = Horizon(IDLE, due_at=0.0)
    horizon.move_behind(handed("5/1001-0", "3/1000-6", "3/1000-7"))
    horizon.move_behind(handed("3/1002-0"))
    assert horizon.ids == [b"1001-0", b"0-0", b"1002-0", b"0-0", b"0-0", b"900-0"]


def test_an_older_entry_that_came_again_moves_nothing() -> None:
    horizon = Horizon(IDLE, due_at=0.0)
    horizon.move_behind(handed("3/1000-4"))
    # As numbers, not as texts: 10 is behind 5.
    horizon.move_behind(handed("3/999-10"))
    assert horizon.ids == list(IDLE)
    horizon.move_behind(handed("3/1000-10"))
    assert horizon.ids[2] == b"1000-10"


def test_what_comes_again_behind_something_new_takes_nothing_back() -> None:
    horizon = Horizon(IDLE, due_at=0.0)
    horizon.move_behind(handed("3/1000-9"))
    horizon.move_behind(handed("3/1000-4"))
    assert horizon.ids[2] == b"1000-9"


def test_what_it_was_given_stays_as_it_is() -> None:
    ids = list(IDLE)
    horizon = Horizon(ids, due_at=0.0)
    horizon.move_behind(handed("1/5-0"))
    assert horizon.ids[4] == b"5-0"
    assert ids == list(IDLE)
