"""`hivebus schema`: what travels, as JSON Schema."""

from __future__ import annotations

from typing import Any

from hivebus import limits
from hivebus.cli.app import App
from hivebus.cli.options import command, group
from hivebus.cli.output import json_text, line

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@group("schema", examples=["hivebus schema message", "hivebus schema message > message.schema.json"])
def schema() -> None:
    """Print the JSON Schema of what travels."""


@command(
    "message",
    bus=False,
    examples=[
        "hivebus schema message > message.schema.json",
        "hivebus schema message | jq '.\"$defs\".Message.required'",
    ],
)
def message(app: App) -> None:
    """Print the JSON Schema of a message, in both shapes that are read.

    Starts and contacts no server.
    """
    line(json_text(message_schema()))


def message_schema() -> dict[str, Any]:
    """Return the schema of the canonical shape and of the short one."""
    from hivebus.message import Message

    canonical = Message.model_json_schema(ref_template="#/$defs/{model}")
    definitions = canonical.pop("$defs")
    return {
        "$schema": DRAFT,
        "title": "hivebus message",
        "description": f"Version {limits.SCHEMA_VERSION}. Unknown fields are kept and passed on.",
        "anyOf": [{"$ref": "#/$defs/Message"}, {"$ref": "#/$defs/ShortMessage"}],
        "$defs": {**definitions, "Message": canonical, "ShortMessage": _short()},
    }


def _short() -> dict[str, Any]:
    name = {"type": "string", "pattern": f"^{limits.NAME_PATTERN}$"}
    return {
        "title": "ShortMessage",
        "description": "The short shape: a payload that is no body is taken as the content.",
        "type": "object",
        "required": ["from", "to", "payload"],
        # What has both is the canonical shape, whatever else it has.
        "not": {"required": ["from_agent"]},
        "properties": {
            "id": {"type": "string", "pattern": f"^{limits.MESSAGE_ID_PATTERN}$"},
            "from": name,
            "to": {"anyOf": [{"type": "string"}, {"type": "array", "items": name, "minItems": 1}]},
            "type": {"type": "string", "pattern": f"^{limits.TYPE_PATTERN}$"},
            "payload": {},
            "timestamp": {"anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}]},
        },
    }


schema.add_command(message)
