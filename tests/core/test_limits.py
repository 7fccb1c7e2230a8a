"""Limits: what breaks one is refused with the field, the value and the rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebus import limits
from hivebus.bus import Bus
from hivebus.envelope import check_reply_to, compose
from hivebus.errors import InvalidMessage
from hivebus.message import Message

from .flaky import FlakyTransport, Serving


def refused(check: Callable[[], object]) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        check()
    return caught.value


def nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"from_agent": "PM"}, "from_agent", "1 to 63 of a-z"),
    ({"from_agent": ""}, "from_agent", "1 to 63 of a-z"),
    ({"from_agent": "a" * 64}, "from_agent", "1 to 63 of a-z"),
    ({"from_agent": "pm-agent\n"}, "from_agent", "1 to 63 of a-z"),
    ({"from_agent": "pm~token"}, "from_agent", "1 to 63 of a-z"),
    ({"from_agent": None}, "from_agent", "1 to 63 of a-z"),
    ({"to_agent": "Frontend"}, "to_agent", "an agent name, @pool"),
    ({"to_agent": "@"}, "to_agent", "an agent name, @pool"),
    ({"to_agent": []}, "to_agent", "a list of agent names"),
    ({"to_agent": ["dev", "*"]}, "to_agent", "1 to 63 of a-z"),
    ({"to_agent": ["dev"] * 1001}, "to_agent", "a list of agent names"),
    ({"to_agent": {"dev": 1}}, "to_agent", "a list of agent names"),
    ({"to_agent": None}, "to_agent", "a list of agent names"),
    ({"message_type": "Task Assignment"}, "message_type", "_, . and -"),
    ({"message_type": "a" * 64}, "message_type", "_, . and -"),
    ({"message_type": ""}, "message_type", "_, . and -"),
    ({"message_id": "with space"}, "message_id", "1 to 64 of letters"),
    ({"message_id": "x" * 65}, "message_id", "1 to 64 of letters"),
    ({"message_id": "{tag}"}, "message_id", "1 to 64 of letters"),
    ({"correlation_id": "with space"}, "correlation_id", "1 to 64 of letters"),
    ({"priority": "critical"}, "priority", "low, medium, high, urgent or emergency"),
    ({"priority": 0}, "priority", "1 to 5"),
    ({"priority": 6}, "priority", "1 to 5"),
    ({"priority": True}, "priority", "1 to 5"),
    ({"priority": 3.0}, "priority", "1 to 5"),
    ({"priority": "12"}, "priority", "1 to 5"),
    ({"ttl": 0}, "ttl", "from 0.001"),
    ({"ttl": -1}, "ttl", "from 0.001"),
    ({"ttl": True}, "ttl", "seconds, or null"),
    ({"ttl": "60"}, "ttl", "seconds, or null"),
    ({"ttl": float("nan")}, "ttl", "seconds, or null"),
    ({"ttl": float("inf")}, "ttl", "seconds, or null"),
    ({"ttl": 10**5000}, "ttl", "seconds, or null"),
    ({"reply_to": "*"}, "reply_to", "one agent or one @pool"),
    ({"reply_to": ["dev"]}, "reply_to", "one agent or one @pool"),
    ({"reply_to": "No Name"}, "reply_to", "an agent name, @pool"),
    ({"traceparent": "x" * 257}, "traceparent", "256 printable characters"),
    ({"traceparent": "a\nb"}, "traceparent", "256 printable characters"),
    ({"require_ack": 1}, "delivery_options.require_ack", "true or false"),
    ({"max_retries": -1}, "delivery_options.max_retries", "from 0 to 1000"),
    ({"max_retries": 1001}, "delivery_options.max_retries", "from 0 to 1000"),
    ({"max_retries": True}, "delivery_options.max_retries", "a whole number"),
    ({"max_retries": 2.0}, "delivery_options.max_retries", "a whole number"),
    ({"retry_delay": -1}, "delivery_options.retry_delay", "from 0 to 86400"),
    ({"retry_delay": 86_401}, "delivery_options.retry_delay", "from 0 to 86400"),
    ({"retry_delay": "30"}, "delivery_options.retry_delay", "seconds"),
    ({"context": "text"}, "body.context", "a JSON object"),
    ({"metadata": [1]}, "body.metadata", "a JSON object"),
    ({"context": {"a": {1, 2}}}, "body.context.a", "JSON has no set"),
    ({"content": float("nan")}, "body.content", "no NaN and no infinity"),
    ({"content": {"a": [1, float("-inf")]}}, "body.content.a[1]", "no NaN and no infinity"),
    ({"content": b"bytes"}, "body.content", "JSON has no bytes"),
    ({"content": object()}, "body.content", "JSON has no object"),
    ({"content": MappingProxyType({"a": 1})}, "body.content", "JSON has no mappingproxy"),
    ({"content": {1: "a"}}, "body.content", "keys of a JSON object must be strings"),
    ({"content": "half a \ud83d"}, "body.content", "character 7 cannot be written as UTF-8"),
    ({"content": ["\udcff"]}, "body.content[0]", "cannot be written as UTF-8"),
    ({"content": {"\udcff": 1}}, "body.content", "cannot be written as UTF-8"),
    ({"content": 10**4000}, "body.content", "4000 digits"),
    ({"content": nested(32)}, "body.content", "at most 32 levels"),
]

every_broken = pytest.mark.parametrize(
    ("broken", "field", "rule"), BROKEN, ids=[f"{each[1]} {number}" for number, each in enumerate(BROKEN)]
)


@every_broken
def test_what_breaks_a_limit_is_refused_with_field_value_and_rule(
    broken: dict[str, Any], field: str, rule: str
) -> None:
    error = refused(lambda: compose(**{"from_agent": "pm", "to_agent": "dev", "content": "x", **broken}))
    assert error.field == field
    assert rule in error.rule
    assert error.value
    for part in (error.field, error.value, error.rule):
        assert part in str(error)


@pytest.mark.parametrize("broken", [each for each, field, _ in BROKEN if field != "from_agent"], ids=itertools.count())
async def test_a_bus_writes_nothing_of_what_breaks_a_limit(broken: dict[str, Any]) -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        with pytest.raises(InvalidMessage):
            await bus.send(**{"to_agent": "dev", "content": "x", **broken})
    assert transport.batches == []


@pytest.mark.parametrize("delay", [-1, float("nan"), 366 * 86_400, "5", None])
async def test_a_bus_writes_nothing_that_is_delayed_by_nonsense(delay: Any) -> None:
    transport = FlakyTransport()
    async with Bus("memory://", agent="pm", plugins=[Serving(transport)]) as bus:
        with pytest.raises(InvalidMessage, match="delay"):
            await bus.send("dev", "x", delay=delay)
    assert transport.batches == []


async def test_a_bus_cannot_be_made_for_an_agent_without_a_proper_name() -> None:
    assert refused(lambda: Bus("memory://", agent="PM")).field == "agent"


async def test_an_encoded_message_over_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    async with Bus("memory://", agent="pm") as bus:
        empty = Message(from_agent="pm", to_agent="dev", body={"content": ""})
        room = limits.MAX_ENCODED - len(empty.to_json())
        await bus.send_message(empty.replace(body={"content": "x" * room}))
        too_large = empty.replace(message_id=empty.message_id[::-1], body={"content": "x" * (room + 1)})
        for refusing in (bus.send_message(too_large), bus.send("dev", "x" * limits.MAX_ENCODED)):
            with pytest.raises(InvalidMessage, match="an encoded message may have 262144 bytes") as caught:
                await refusing
            assert caught.value.why == "too_large"
        assert (await bus.queue("dev")).waiting == 1


def test_the_deepest_message_that_is_allowed_is_allowed() -> None:
    # The message is one level and its body another.
    assert limits.check_json(nested(30), field="body.content") == nested(30)
    assert refused(lambda: limits.check_json(nested(31), field="body.content")).why == "too_deep"


def test_a_list_that_holds_itself_is_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert refused(lambda: limits.check_json(endless, field="body.content")).why == "too_deep"


def test_a_strange_key_neither_breaks_the_line_nor_fills_the_page() -> None:
    error = refused(lambda: limits.check_json({"\x1b[31m\n" + "k" * 500: float("nan")}, field="body.content"))
    assert error.why.isprintable() and len(error.why) <= 100
    assert error.field.startswith("body.content.\\x1b[31m")


def test_what_is_within_the_limits_comes_back_in_its_canonical_form() -> None:
    assert limits.check_address(["dev", "ops"]) == ("dev", "ops")
    assert [limits.check_address(each) for each in ("dev", "@pool", "*", "broadcast", "dev~1a")] == [
        "dev",
        "@pool",
        "*",
        "broadcast",
        "dev~1a",
    ]
    assert [limits.check_priority(each) for each in (1, "5", "high")] == ["low", "emergency", "high"]
    assert (limits.check_ttl(None), limits.check_ttl(0.001)) == (None, 0.001)
    assert limits.check_mapping({}, field="body.context") == {}
    assert limits.check_label(None, field="traceparent") is None
    assert check_reply_to("@architects") == "@architects"


@given(st.text())
def test_a_name_is_exactly_what_the_rule_says(text: str) -> None:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
    valid = 0 < len(text) <= 63 and set(text) <= set(allowed + "_-") and text[0] in allowed
    if valid:
        assert limits.check_name(text, field="agent") == text
    else:
        assert refused(lambda: limits.check_name(text, field="agent")).field == "agent"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_every_json_value_is_allowed(value: Any) -> None:
    assert limits.check_json(value, field="body.content") is value
