"""Envelopes: the same bytes as the model's, without a model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebus.envelope import compose, encode, new_message_id, now
from hivebus.errors import InvalidMessage
from hivebus.message import Message, message_of

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]))
# Below 0.0001 Python writes 1e-05 and the model 1e-5: the same number in another spelling.
plain_floats = st.floats(0.001, 1e12) | st.just(0.0)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | plain_floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, values, max_size=3)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


envelopes = st.builds(
    compose,
    from_agent=names,
    to_agent=names
    | names.map("@".__add__)
    | st.sampled_from(["*", "broadcast"])
    | st.lists(names, min_size=1, max_size=3),
    content=values,
    message_type=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,62}", fullmatch=True),
    priority=st.sampled_from(["low", "medium", "high", "urgent", "emergency", 1, 2, 3, 4, 5]),
    ttl=optional(st.integers(1, 10**8) | st.floats(0.001, 1e8)),
    context=objects,
    metadata=objects,
    require_ack=st.booleans(),
    max_retries=st.integers(0, 1000),
    retry_delay=st.integers(0, 86_400) | st.floats(0.001, 86_400),
    correlation_id=optional(ids),
    reply_to=optional(names | names.map("@".__add__)),
    traceparent=optional(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60)),
    message_id=optional(ids),
)


@given(envelopes)
def test_an_envelope_has_the_bytes_of_its_message(envelope: Any) -> None:
    data = encode(envelope)
    message = Message.from_json(data)
    assert message.to_json() == data
    assert message_of(envelope) == message


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_keeps_its_value(number: float) -> None:
    envelope = compose(from_agent="pm", to_agent="dev", content=[number])
    assert message_of(envelope).content == [number]
    assert json.loads(message_of(envelope).to_json())["body"]["content"] == [number]


def test_only_what_must_be_given_must_be_given() -> None:
    given_ = json.loads(encode(compose(from_agent="pm", to_agent="dev", content="hello")))
    assert UUID(given_.pop("message_id")).version == 4
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", given_.pop("timestamp"))
    assert given_ == {
        "schema_version": 1,
        "from_agent": "pm",
        "to_agent": "dev",
        "message_type": "information_share",
        "priority": "medium",
        "ttl": None,
        "body": {"content": "hello", "context": {}, "metadata": {}},
        "delivery_options": {"require_ack": True, "max_retries": 3, "retry_delay": 30},
        "correlation_id": None,
        "reply_to": None,
        "traceparent": None,
    }


@pytest.mark.parametrize(
    "content", ["x" * 100_000, "🐝 bees\r\n\tof many lines\u2028", "-leading", "\"quoted\" 'too' \\", "\x00\x1b[31m"]
)
def test_text_arrives_byte_for_byte(content: str) -> None:
    assert message_of(compose(from_agent="pm", to_agent="dev", content=content)).content == content


def test_what_is_over_the_limit_is_not_encoded() -> None:
    envelope = compose(from_agent="pm", to_agent="dev", content="x" * 100)
    size = len(encode(envelope))
    assert len(encode(envelope, limit=size)) == size
    with pytest.raises(InvalidMessage, match=f"may have {size - 1} bytes"):
        encode(envelope, limit=size - 1)


def test_ids_are_random_uuids_and_all_different() -> None:
    made = [new_message_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(UUID(each).version, UUID(each).variant) for each in made} == {(4, "specified in RFC 4122")}


def test_a_timestamp_is_written_as_the_model_writes_it() -> None:
    moment = now()
    composed = compose(from_agent="pm", to_agent="dev", content="x")._replace(timestamp=moment)
    message = Message.from_json(encode(composed))
    assert f'"timestamp":"{moment}"'.encode() in message.to_json()


def test_one_message_needs_no_model_no_event_loop_and_no_client_library() -> None:
    program = (
        "import sys; from hivebus.envelope import *; encode(compose(from_agent='a', to_agent='b', content='c'));"
        "print([name for name in ('pydantic', 'asyncio', 'redis', 'pluggy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
