"""A process per message: it learns from the answer whether there is anything to know, and only then asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

import hivebus
from hivebus import plugin_index, short_road, sync
from hivebus.errors import HivebusError, NotFound, NotPermitted, QueueFull, Unavailable, Unknown
from hivebus.transport import ROUTES, OneShot, Outgoing, Published

Facts = Mapping[str, Mapping[str, Any]]


class Shot(OneShot):
    """Stores everything, refuses whom the test names, and knows what the test says.

    Attributes:
        inboxes: where messages went; reads: which kinds were asked for.
    """

    def __init__(
        self,
        facts: Facts | None = None,
        *,
        kind: str = ROUTES,
        refuses: str = "",
        troubles: Sequence[HivebusError] = (),
    ) -> None:
        self.inboxes: list[str] = []
        self.reads: list[str] = []
        self._facts = facts
        self._kind = kind
        self._refuses = refuses
        self._troubles = list(troubles)

    def publish_once(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        self.inboxes += [item.inbox for item in batch]
        routes = 0 if self._kind != ROUTES else 3
        stored = Published("stored", readers=0, routes=routes)
        return [QueueFull(f"{item.inbox} is full") if item.inbox == self._refuses else stored for item in batch]

    def read(self, kind: str) -> Facts | None:
        self.reads.append(kind)
        if self._troubles:
            raise self._troubles.pop(0)
        return self._facts if kind == self._kind else {}


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Send over the short road of a `Shot`."""
    monkeypatch.setattr(short_road, "FIRST_PAUSE", 0.001)
    index = plugin_index.read()

    def sending(shot: Shot, to: str | list[str]) -> hivebus.Receipt:
        schemes = [replace(each, one_shot=lambda _: shot) if each.name == "memory" else each for each in index.schemes]
        monkeypatch.setattr(plugin_index, "read", lambda **options: index._replace(schemes=schemes))
        return hivebus.send(to, "x", from_agent="pm", url="memory://")

    return sending


def test_the_routes_are_read_once_and_only_subscribers_are_missing(send: Any) -> None:
    shot = Shot({"audit": {"subscriptions": ["agent.#"]}, "other": {"subscriptions": ["agent.*.event"]}})
    receipt = send(shot, ["dev", "qa"])
    assert (shot.inboxes, shot.reads) == (["dev", "qa", "audit"], [ROUTES])
    assert [note.split()[0] for note in receipt.notes] == ["dev", "qa"]


def test_a_full_subscriber_is_a_note_and_a_full_addressee_an_error(send: Any) -> None:
    routes = {"audit": {"subscriptions": ["agent.#"]}}
    assert "audit subscribed to this and got no copy" in send(Shot(routes, refuses="audit"), "dev").notes[-1]
    with pytest.raises(QueueFull, match="dev is full"):
        send(Shot(routes, refuses="dev"), "dev")


@pytest.mark.parametrize("routes", [None, {"dev": {"fallback": "qa"}}, {"dev": {"moved_to": "qa"}}])
def test_what_takes_more_than_one_socket_is_left_to_a_bus(send: Any, routes: Facts | None) -> None:
    shot = Shot(routes)
    assert send(shot, "dev").state == "stored"
    assert shot.inboxes[0] == "dev"


def test_a_pool_is_looked_up_first(send: Any) -> None:
    shot = Shot({"architects": {}}, kind="pools")
    assert send(shot, "@architects")
    assert (shot.inboxes, shot.reads) == (["@architects"], ["pools"])
    with pytest.raises(NotFound, match="did you mean @architects"):
        send(shot, "@architect")
    with pytest.raises(NotFound, match="no pool"):
        send(Shot(None, kind="pools"), "@architects")


def test_everybody_is_left_to_a_bus(send: Any) -> None:
    shot = Shot({})
    with pytest.raises(NotFound, match="nobody is registered"):
        send(shot, "*")
    assert shot.inboxes == []


def test_a_directory_that_is_away_for_a_moment_is_asked_again(send: Any) -> None:
    shot = Shot({"audit": {"subscriptions": ["agent.#"]}}, troubles=[Unavailable("away"), Unknown("lost")])
    assert send(shot, "dev")
    assert shot.inboxes == ["dev", "audit"]


def test_routes_that_may_not_be_read_leave_the_outcome_unknown(send: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "GIVE_UP_AFTER", 0.1)
    with pytest.raises(Unknown, match="whom the message goes to"):
        send(Shot({}, troubles=[NotPermitted("no")]), "dev")
