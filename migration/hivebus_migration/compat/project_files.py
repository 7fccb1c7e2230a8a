"""What `hivebus compat install` writes into a project, and how it knows its own files again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from hivebus_migration import compat

_MARK = "# hivebus compat {digest}: `hivebus compat uninstall` takes this file back.\n"
_MARKED = re.compile(rb"^# hivebus compat ([0-9a-f]{16}): [^\n]*\n", re.MULTILINE)
_SHEBANG = "#!/usr/bin/env python3\n"


def project_files() -> Mapping[str, bytes]:
    """Return the files by their names within the project."""
    protocol = [each for each in compat.__all__ if each.startswith(("create_", "Delivery"))]
    protocol += ["AgentMessage", "MessageDeliveryStatus", "MessagePriority", "MessageType"]
    return {
        "message_bus/__init__.py": _module(
            "The message bus of before, on hivebus.", {"hivebus_migration.compat": compat.__all__}
        ),
        "message_bus/agent_communicator.py": _module(
            "What an agent holds, and the coroutine that sends a single message.",
            {
                "hivebus_migration.compat": ["AgentCommunicator", *protocol, "MessageBus", "MessageBusConfig"],
                "hivebus_migration.compat.single_messages": ["SimpleAgentCommunicator", "send_to_agent"],
            },
        ),
        "message_bus/message_bus.py": _module(
            "The bus itself.",
            {
                "hivebus_migration.compat": [
                    "AgentMessage",
                    "MessageBus",
                    "MessageBusConfig",
                    "MessageDeliveryStatus",
                    "MessagePriority",
                ]
            },
        ),
        "message_bus/message_protocol.py": _module("The messages.", {"hivebus_migration.compat": protocol}),
        "message_bus/tmux_replacement.py": _script("tmux_replacement"),
        "scripts/agent_communicate.py": _script("agent_communicate", also=("send_to_agent",)),
    }


def is_ours(content: bytes) -> bool:
    """Tell whether `hivebus compat install` wrote this, of whatever release, and nobody has changed it since."""
    mark = _MARKED.search(content)
    return mark is not None and mark[1].decode() == _digest(content[: mark.start()] + content[mark.end() :])


def looks_like_ours(content: bytes) -> bool:
    """Tell whether `hivebus compat install` wrote this, also if somebody has changed it since."""
    return _MARKED.search(content) is not None


def _module(summary: str, names: Mapping[str, list[str]]) -> bytes:
    imports = "".join(f"from {module} import (\n{_listed(found)})\n" for module, found in names.items())
    public = "".join(f'    "{name}",\n' for name in sorted({each for found in names.values() for each in found}))
    return _marked(f'"""{summary}"""\n\n{imports}\n__all__ = [\n{public}]\n')


def _listed(names: list[str]) -> str:
    return "".join(f"    {name},\n" for name in sorted(names))


def _script(program: str, also: tuple[str, ...] = ()) -> bytes:
    names = ", ".join([f"{program} as main", *also])
    public = ", ".join(f'"{name}"' for name in ("main", *also))
    return _marked(
        f'''"""Send a message to another agent: {program}.py <target_agent> <message> [from_agent]"""

import sys

try:
    from hivebus_migration.compat.scripts import {names}
except ModuleNotFoundError as error:
    if __name__ != "__main__" or error.name != "hivebus_migration":
        raise
    print(f"❌ Communication failed: {{sys.executable}} has no hivebus: run this with a Python that has it installed")
    sys.exit(1)

__all__ = [{public}]

if __name__ == "__main__":
    main()
''',
        shebang=_SHEBANG,
    )


def _marked(text: str, *, shebang: str = "") -> bytes:
    return f"{shebang}{_MARK.format(digest=_digest((shebang + text).encode()))}{text}".encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
