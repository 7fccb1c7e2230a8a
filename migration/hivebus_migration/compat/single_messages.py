"""Single messages, for code that holds no bus."""

from __future__ import annotations

import logging

from hivebus_migration.compat.agent_communicator import AgentCommunicator
from hivebus_migration.compat.message_protocol import MessagePriority, priority_of
from hivebus_migration.compat.send_receipt import SendReceipt

_log = logging.getLogger(__name__)


class SimpleAgentCommunicator:
    """Each call connects, sends, and is done; nobody's mail is read."""

    @staticmethod
    async def send_message(
        from_agent: str,
        to_agent: str,
        message: str,
        priority: str = "medium",
    ) -> SendReceipt:
        """Send a message, on the level that is named; a name that is none means medium, as before.

        Raises:
            hivebus.HivebusError: no server answers.
        """
        try:
            level = priority_of(priority)
        except ValueError:
            _log.warning("there is no priority %r: the message to %s is sent as medium", priority, to_agent)
            level = MessagePriority.MEDIUM
        async with AgentCommunicator(from_agent).lifespan() as communicator:
            return await communicator.send_message_to_agent(to_agent, message, priority=level)

    @staticmethod
    async def send_task(
        from_agent: str,
        to_agent: str,
        task_description: str,
        deadline: str | None = None,
    ) -> SendReceipt:
        """Send a task.

        Raises:
            hivebus.HivebusError: no server answers.
        """
        async with AgentCommunicator(from_agent).lifespan() as communicator:
            return await communicator.send_task_assignment(to_agent, task_description, deadline=deadline)


async def send_to_agent(target_agent: str, message: str, from_agent: str = "unknown") -> SendReceipt:
    """Send a message without holding a bus. The function of this name in ``agent_communicate.py`` is no coroutine.

    Raises:
        hivebus.HivebusError: no server answers.
    """
    return await SimpleAgentCommunicator.send_message(from_agent, target_agent, message)
