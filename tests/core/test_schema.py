"""The JSON Schema of a message agrees with what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from hivebus.cli.schema import message_schema
from hivebus.errors import InvalidMessage
from hivebus.message import Message

GOLDEN = Path(__file__).parents[1] / "contract" / "golden"
READABLE = ["canonical", "short", "older_minor", "newer_minor"]
BROKEN: list[dict[str, Any]] = [
    {"from_agent": "pm", "to_agent": "dev"},
    {"from_agent": "PM", "to_agent": "dev", "body": {"content": 1}},
    {"from_agent": "pm", "to_agent": "dev", "body": {"content": 1}, "message_type": "No Type"},
    {"from_agent": "pm", "to_agent": "dev", "body": {"content": 1}, "priority": "critical"},
    {"from_agent": "pm", "to_agent": "dev", "body": {"content": 1}, "ttl": "60"},
    {"from_agent": "pm", "to_agent": "dev", "body": {"content": 1}, "delivery_options": {"max_retries": -1}},
    {"from": "pm", "to": "dev"},
    {"from": "PM", "to": "dev", "payload": 1},
]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = message_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", READABLE)
def test_what_is_read_fits_the_schema(validator: Any, name: str) -> None:
    validator.validate(json.loads((GOLDEN / f"{name}.json").read_bytes()))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: json.dumps(each))
def test_what_does_not_fit_the_schema_is_not_read(validator: Any, broken: dict[str, Any]) -> None:
    assert not validator.is_valid(broken)
    with pytest.raises(InvalidMessage):
        Message.from_json(json.dumps(broken))
