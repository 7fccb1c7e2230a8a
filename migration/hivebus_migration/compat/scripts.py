"""The two scripts of before: blocking, the same words on stdout, the same exit codes.

They stand in for a process per message, so they import no model, no event loop and no client library.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import hivebus
from hivebus.errors import HivebusError
from hivebus.notice import default_server
from hivebus.receipt import Receipt
from hivebus.settings import load

AGENTS = (
    "documentation-agent",
    "orchestration-agent",
    "pm-agent",
    "intelligence-agent",
    "integration-agent",
    "quality-agent",
)
"""Those that the usage of before names; any other may be sent to."""


def send_to_agent(target_agent: str, message: str, from_agent: str = "unknown") -> bool:
    """Send a message, say so on stdout, and tell whether it was stored; blocks, also in an event loop."""
    return _send(target_agent, message, from_agent, road="")


def agent_communicate() -> NoReturn:
    """Do what ``agent_communicate.py <target_agent> <message> [from_agent]`` is asked to."""
    _run("agent_communicate.py", agents=AGENTS, road="")


def tmux_replacement() -> NoReturn:
    """Do what ``tmux_replacement.py <target_agent> <message> [from_agent]`` is asked to."""
    _run("tmux_replacement.py", agents=(*AGENTS, "frontend-agent"), road=" via Redis message bus")


def _run(program: str, *, agents: tuple[str, ...], road: str) -> NoReturn:
    if len(sys.argv) < 3:
        _print(_usage(program, agents))
        sys.exit(1)
    target, message = sys.argv[1:3]
    sender = sys.argv[3] if len(sys.argv) > 3 else "unknown-agent"
    sys.exit(0 if _send(target, message, sender, road=road) else 1)


def _send(target: str, message: str, sender: str, *, road: str) -> bool:
    _print(f"📡 Sending message from {sender} to {target}{road}...")
    try:
        receipt = _receipt(target, message, sender)
    except HivebusError as error:
        _print(f"❌ Communication failed: {error}")
        return False
    _print(f"✅ Message delivered to {target}")
    for note in receipt.notes:
        sys.stderr.write(f"note: {note}\n")
    return True


def _receipt(target: str, message: str, sender: str) -> Receipt:
    settings = load()
    if not settings.has_url:
        sys.stderr.write(f"{default_server(settings)}\n")

    def deliver() -> Receipt:
        return hivebus.send(settings.name_of(target), message, from_agent=settings.name_of(sender))

    if not _is_in_a_loop():
        return deliver()
    # Code of before calls this from coroutines, too, and is held up by it as it was.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "hivebus-send") as thread:
        return thread.submit(deliver).result()


def _is_in_a_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def _usage(program: str, agents: tuple[str, ...]) -> str:
    return "\n".join(
        [
            f"Usage: python {program} <target_agent> <message> [from_agent]",
            "",
            "Examples:",
            f"  python {program} documentation-agent 'Please update API docs'",
            f"  python {program} pm-agent 'Sprint planning needed' quality-agent",
            "",
            "Available agents:",
            *(f"  - {agent}" for agent in agents),
        ]
    )


def _print(text: str) -> None:
    # Flushed, since what follows may take a while and whoever reads a pipe wants to know what for.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
