"""Routing: from an address to inboxes."""

from __future__ import annotations

import pytest

from hivebus.errors import Unsupported
from hivebus.heading import heading_of
from hivebus.routing import inboxes_of, route
from hivebus.transport import Outgoing


def test_one_agent_is_one_inbox_and_a_list_is_one_each() -> None:
    assert inboxes_of("pm-agent") == ("pm-agent",)
    assert inboxes_of(("a", "b", "a")) == ("a", "b")


@pytest.mark.parametrize("to_agent", ["*", "broadcast"])
def test_what_needs_a_directory_of_members_is_unsupported_and_says_so(to_agent: str) -> None:
    with pytest.raises(Unsupported, match="is not routed yet") as caught:
        inboxes_of(to_agent)
    assert repr(to_agent) in str(caught.value)


def test_a_pool_is_an_inbox_of_its_own() -> None:
    assert inboxes_of("@architects") == ("@architects",)


def test_an_agent_may_have_a_name_that_begins_like_everyone() -> None:
    assert inboxes_of("broadcaster") == ("broadcaster",)


def test_every_recipient_gets_the_same_message_under_the_same_id() -> None:
    heading = heading_of("pm-agent", ["a", "b"], "question", "urgent")
    items = route(heading, message_id="id", ttl=60, delay=1, data=b"{}")
    assert items == [Outgoing(name, "id", "agent.a,b.question", 4, 1, 60, b"{}") for name in ("a", "b")]
