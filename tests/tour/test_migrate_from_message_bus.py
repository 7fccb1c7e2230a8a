"""The page for code of the bus before is true: every call on it is made, and shows what the page shows."""

from __future__ import annotations

from .machines import ROOT, Machine
from .pages import blocks, follow

PAGE = (ROOT / "docs" / "migrate-from-message-bus.md").read_text()
CALLS = (
    "from message_bus import AgentCommunicator, MessageType, MessagePriority",
    "from message_bus import AgentCommunicator, AgentMessage, MessageType",
    'async with AgentCommunicator("frontend-agent").lifespan() as comm',
    "async with MessageBus().lifespan() as bus",
    "AgentCommunicator(from_agent, bus)",
    ".set_message_handler(self.handle_message)",
    "await self.communicator.start()",
    "message.body['content']",
    "message.message_type == MessageType.TASK_ASSIGNMENT",
    "message_type=MessageType.QUESTION",
    "priority=MessagePriority.EMERGENCY",
    "results = await communicator.broadcast_message(",
    'agents=["pm-agent", "frontend-agent", "ops-agent"]',
    "original_message=question",
    "await bus.get_message_status(message_id)",
    "{status.status}",
    'await bus.get_agent_queue_size("pm-agent")',
)
"""What the guide of that bus shows, as it shows it."""


def test_the_page_shows_what_happens(computer: Machine) -> None:
    computer.install()
    follow(PAGE, computer)
    old = next(block.text for block in blocks(PAGE) if block.name == "agent-hive/scripts/agent_communicate.py")
    assert (computer.home / "agent-hive/scripts/agent_communicate.py").read_text() == old


def test_the_page_has_every_call_of_the_old_guide() -> None:
    code = "".join(block.text for block in blocks(PAGE) if block.language == "python")
    assert [call for call in CALLS if call not in code] == []
