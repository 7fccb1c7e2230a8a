"""Durable messages between AI agents.

    import hivebus
    hivebus.send("pm-agent", "Sprint planning needed", from_agent="frontend-agent")

Names are imported when they are first used, since agents start a process per message.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hivebus.bus import Bus
    from hivebus.errors import HivebusError, Reject
    from hivebus.message import Message, MessageType, Priority
    from hivebus.receipt import Receipt
    from hivebus.short import send_message, stream_consume
    from hivebus.sync import ask, broadcast, receive, reply, send, send_many, status

__all__ = [
    "Bus",
    "HivebusError",
    "Message",
    "MessageType",
    "Priority",
    "Receipt",
    "Reject",
    "ask",
    "broadcast",
    "receive",
    "reply",
    "send",
    "send_many",
    "send_message",
    "status",
    "stream_consume",
]

_HOMES = {
    "Bus": "bus",
    "HivebusError": "errors",
    "Message": "message",
    "MessageType": "message",
    "Priority": "message",
    "Receipt": "receipt",
    "Reject": "errors",
    "ask": "sync",
    "broadcast": "sync",
    "receive": "sync",
    "reply": "sync",
    "send": "sync",
    "send_many": "sync",
    "send_message": "short",
    "status": "sync",
    "stream_consume": "short",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"hivebus.{home}"), name)


def __dir__() -> list[str]:
    return __all__
