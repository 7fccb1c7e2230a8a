"""Addresses: one agent, a pool, everyone, or a list."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from hivebus import limits
from hivebus.address import Address, behind_shadow, parse_address, routing_key, shadow_of
from hivebus.errors import InvalidMessage


@pytest.mark.parametrize(
    ("to_agent", "address"),
    [
        ("pm-agent", Address("agent", ("pm-agent",))),
        ("pm-agent~9f", Address("agent", ("pm-agent~9f",))),
        ("@architects", Address("pool", ("architects",))),
        ("*", Address("everyone", ())),
        ("broadcast", Address("everyone", ())),
        (("b", "a", "b"), Address("list", ("b", "a"))),
    ],
)
def test_an_address_says_who_is_meant(to_agent: str | tuple[str, ...], address: Address) -> None:
    assert parse_address(to_agent) == address


@pytest.mark.parametrize("to_agent", ["", "@", "@@x", "PM", "a b", "**", (), ("a", "@b")])
def test_what_is_no_address_is_refused(to_agent: str | tuple[str, ...]) -> None:
    with pytest.raises(InvalidMessage, match="to_agent"):
        parse_address(to_agent)


def test_an_address_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        parse_address("pm-agent").kind = "pool"  # type: ignore[misc]


def test_a_routing_key_keeps_the_address_as_written() -> None:
    assert routing_key("pm-agent", "question") == "agent.pm-agent.question"
    assert routing_key("@architects", "question") == "agent.@architects.question"
    assert routing_key(("a", "b"), "system_alert") == "agent.a,b.system_alert"


def test_a_shadow_inbox_belongs_to_its_agent_and_is_no_agent() -> None:
    assert behind_shadow(shadow_of("pm-agent")) == ("pm-agent", True)
    assert behind_shadow("pm-agent") == ("pm-agent", False)
    with pytest.raises(InvalidMessage):
        limits.check_name(shadow_of("pm-agent"), field="agent")
