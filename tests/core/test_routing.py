"""Routing: from an address, and a snapshot of the routes, to inboxes."""

from __future__ import annotations

from typing import Any

import pytest

from hivebus.errors import InvalidMessage, NotFound
from hivebus.heading import Heading, heading_of
from hivebus.routing import KEPT, Routes, names_of, needs, route
from hivebus.topics import REMEMBERED, Subscriptions
from hivebus.transport import Outgoing


def heading(to: str | list[str], kind: str = "question", sender: str = "pm") -> Heading:
    return heading_of(sender, to, kind, "urgent")


def routes(**entries: Any) -> Routes:
    return Routes({name.replace("_", "-"): entry for name, entry in entries.items()}, version=7)


# --- Addresses ---------------------------------------------------------------------------------------


def test_one_agent_is_one_inbox_and_a_list_is_one_each() -> None:
    assert names_of("pm-agent") == ("pm-agent",)
    assert names_of(("a", "b", "a")) == ("a", "b")


@pytest.mark.parametrize("to_agent", ["*", "broadcast"])
def test_everyone_is_who_is_registered_but_the_sender(to_agent: str) -> None:
    assert needs(to_agent) == "agents"
    assert names_of(to_agent, registered=["a", "b", "c"], sender="b") == ("a", "c")


@pytest.mark.parametrize("registered", [[], ["me"]])
def test_a_broadcast_to_nobody_says_who_is_registered_when(registered: list[str]) -> None:
    with pytest.raises(NotFound, match="nobody is registered") as refused:
        names_of("*", registered=registered, sender="me")
    assert "reads its inbox for the first time" in str(refused.value)


def test_a_pool_is_an_inbox_of_its_own_when_there_is_one() -> None:
    assert needs("@architects") == "pools"
    assert names_of("@architects", pools=["architects"]) == ("@architects",)


def test_an_unknown_pool_is_named_with_those_that_may_be_meant() -> None:
    with pytest.raises(NotFound, match="there is no pool @architekts; did you mean @architects") as refused:
        names_of("@architekts", pools=["reviewers", "architects"])
    assert "@architects, @reviewers" in str(refused.value)
    with pytest.raises(NotFound, match="there is no pool at all"):
        names_of("@architects")


def test_an_agent_may_have_a_name_that_begins_like_everyone() -> None:
    assert needs("broadcaster") is None
    assert names_of("broadcaster") == ("broadcaster",)


def test_every_recipient_gets_the_same_message_under_the_same_id() -> None:
    items = route(heading(["a", "b"]), ["a", "b"], message_id="id", ttl=60, delay=1, data=b"{}")
    assert items == [Outgoing(name, "id", "agent.a,b.question", 4, 1, 60, b"{}") for name in ("a", "b")]


def test_what_would_expire_before_it_is_queued_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="more than its delay"):
        route(heading("a"), ["a"], message_id="id", ttl=1, delay=1, data=b"{}")


# --- Subscriptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("agent.*.system_alert", ["agent.pm.system_alert", "agent.*.system_alert"], ["agent.pm.event"]),
        ("agent.pm.#", ["agent.pm.event", "agent.pm.build.failed"], ["agent.qa.event", "agent.pm~x.event"]),
        ("agent.pm.*", ["agent.pm.event"], ["agent.pm.build.failed"]),
        ("agent.*.build.*", ["agent.qa.build.failed"], ["agent.qa.build", "agent.qa.build.failed.twice"]),
        ("agent.*.build.#", ["agent.qa.build", "agent.qa.build.failed.twice"], ["agent.qa.builds"]),
        ("agent.@architects.#", ["agent.@architects.task"], ["agent.architects.task"]),
        ("#", ["agent.pm.event"], []),
        ("agent.#", ["agent.pm.event"], []),
    ],
)
def test_a_star_is_one_part_and_a_hash_is_the_rest(pattern: str, matching: list[str], others: list[str]) -> None:
    subscriptions = Subscriptions([("audit", pattern)])
    assert [key for key in matching if subscriptions.of(key) != ["audit"]] == []
    assert [key for key in others if subscriptions.of(key)] == []


def test_a_subscriber_is_found_once_however_many_of_its_patterns_match() -> None:
    subscriptions = Subscriptions([("a", "agent.#"), ("b", "agent.pm.*"), ("a", "agent.*.event")])
    assert sorted(subscriptions.of("agent.pm.event")) == ["a", "b"]


@pytest.mark.parametrize("strange", [None, 7, "agent", "agent.#.event", {"a": 1}])
def test_what_is_no_pattern_in_the_directory_harms_no_sender(strange: object) -> None:
    assert Subscriptions([("a", strange), ("b", "agent.#")]).of("agent.pm.event") == ["b"]


def test_a_list_of_a_thousand_among_a_thousand_patterns_is_searched_once_per_name() -> None:
    wanted = [(f"s{number}", f"agent.*.event-{number}") for number in range(1000)]
    names = tuple(f"a{number}" for number in range(1000))
    snapshot = Routes({agent: {"subscriptions": [pattern]} for agent, pattern in wanted}, version=1)
    way = snapshot.way(heading([*names], kind="event-7"), names)
    assert (way.inboxes[-1], way.addressed, snapshot.subscriptions.asked) == ("s7", 1000, 1000)


def test_types_that_are_remembered_are_bounded() -> None:
    subscriptions = Subscriptions([("audit", "agent.*.e7")])
    found = [number for number in range(REMEMBERED + 10) if subscriptions.of(f"agent.pm.e{number}")]
    assert (found, len(subscriptions._known)) == ([7], 10)


# --- Ways --------------------------------------------------------------------------------------------


def test_a_way_leads_to_the_addressee_first_and_then_to_subscribers() -> None:
    way = routes(audit={"subscriptions": ["agent.*.question"]}).way(heading("dev"), ("dev",))
    assert (way.inboxes, way.addressed) == (("dev", "audit"), 1)


def test_a_subscriber_that_is_addressed_anyway_is_one_inbox() -> None:
    way = routes(dev={"subscriptions": ["agent.#"]}).way(heading("dev"), ("dev",))
    assert (way.inboxes, way.addressed) == (("dev",), 1)


def test_nobody_gets_a_copy_of_what_it_said_itself() -> None:
    assert routes(pm={"subscriptions": ["agent.#"]}).way(heading("dev", sender="pm"), ("dev",)).inboxes == ("dev",)


def test_of_a_list_each_agent_is_heard_by_its_own_subscribers() -> None:
    way = routes(audit={"subscriptions": ["agent.b.*"]}).way(heading(["a", "b"]), ("a", "b"))
    assert (way.inboxes, way.addressed) == (("a", "b", "audit"), 2)


def test_mail_for_a_name_that_was_given_up_goes_to_the_new_one() -> None:
    snapshot = routes(old={"moved_to": "middle"}, middle={"moved_to": "new"})
    assert snapshot.way(heading("old"), ("old",)).inboxes == ("new",)


def test_names_that_lead_in_a_circle_lead_somewhere() -> None:
    assert routes(a={"moved_to": "b"}, b={"moved_to": "a"}).home_of("a") in ("a", "b")


def test_what_is_remembered_is_bounded() -> None:
    snapshot = routes()
    for number in range(KEPT + 10):
        one = heading("dev", kind=f"t{number}")
        snapshot.keep(one, snapshot.way(one, ("dev",)))
    assert len(snapshot.known) == 10
