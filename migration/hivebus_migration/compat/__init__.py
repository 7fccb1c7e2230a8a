"""The API of the message bus before hivebus, on hivebus: old code goes on as it is.

`hivebus compat install` writes a package ``message_bus`` into a project that is nothing but these names. What they
do has changed where it did not hold what it promised: see ``docs/migrate-from-message-bus.md``.
Names are imported when they are first used, since the scripts that replace the old ones start a process per message.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hivebus import MessageType
    from hivebus_migration.compat.agent_communicator import AgentCommunicator
    from hivebus_migration.compat.message_bus import MessageBus, MessageBusConfig
    from hivebus_migration.compat.message_protocol import (
        AgentMessage,
        DeliveryOptions,
        MessageDeliveryStatus,
        MessagePriority,
        create_emergency_alert,
        create_status_update,
        create_task_assignment,
    )
    from hivebus_migration.compat.send_receipt import SendReceipt
    from hivebus_migration.compat.single_messages import SimpleAgentCommunicator

__all__ = [
    "AgentCommunicator",
    "AgentMessage",
    "DeliveryOptions",
    "MessageBus",
    "MessageBusConfig",
    "MessageDeliveryStatus",
    "MessagePriority",
    "MessageType",
    "SendReceipt",
    "SimpleAgentCommunicator",
    "create_emergency_alert",
    "create_status_update",
    "create_task_assignment",
]

_HOMES = {
    "AgentCommunicator": "agent_communicator",
    "MessageBus": "message_bus",
    "MessageBusConfig": "message_bus",
    "SendReceipt": "send_receipt",
    "SimpleAgentCommunicator": "single_messages",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "message_protocol")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
