"""One message to many, and who got it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from hivebus import Bus, HivebusError, limits
from hivebus_migration.compat.message_bus import MessageBus
from hivebus_migration.compat.message_protocol import AgentMessage
from hivebus_migration.compat.send_receipt import SendReceipt
from hivebus_migration.compat.translation import to_message

_log = logging.getLogger(__name__)


async def broadcast(bus: MessageBus, draft: AgentMessage, *, agents: Sequence[str] | None) -> dict[str, SendReceipt]:
    """Send *draft* to *agents*, or to everybody who is registered, but not to its sender; return what came of it, each.

    Raises:
        ValueError: *agents* is no list.
        RuntimeError: the bus is not running. hivebus.HivebusError: nobody can say who is registered.
    """
    own = await bus.bus_of(draft.from_agent)
    if agents is None:
        return await _send(own, draft, None, name_of=bus.name_of)
    if isinstance(agents, str):
        raise ValueError(f"agents must be a list of names, and not {agents!r}")
    given = {bus.name_of(each): each for each in agents}
    given.pop(own.agent, None)
    results: dict[str, SendReceipt] = {}
    for name in list(given):
        try:
            limits.check_name(name, field="agents")
        except HivebusError as error:
            results[given.pop(name)] = _not_sent(draft, name, error)
    if given:
        try:
            sent = await _send(own, draft, list(given), name_of=bus.name_of)
        except HivebusError as error:
            sent = {name: _not_sent(draft, name, error) for name in given}
        results |= {given[name]: receipt for name, receipt in sent.items()}
    return results


async def _send(
    own: Bus, draft: AgentMessage, names: list[str] | None, *, name_of: Callable[[str], str]
) -> dict[str, SendReceipt]:
    message = to_message(draft, name_of=name_of)
    outcome = await own.broadcast(
        message.content,
        agents=names,
        message_type=message.message_type,
        priority=message.priority,
        ttl=message.ttl,
        max_retries=message.delivery_options.max_retries,
        retry_delay=message.delivery_options.retry_delay,
        message_id=message.message_id,
    )
    sent = {name: SendReceipt(_copy(draft, name), receipt) for name, receipt in outcome.receipts.items()}
    return sent | {name: _not_sent(draft, name, error) for name, error in outcome.refused.items()}


def _not_sent(draft: AgentMessage, name: str, error: HivebusError) -> SendReceipt:
    _log.error("message %s to %s was not sent: %s", draft.message_id, name, error)
    return SendReceipt(_copy(draft, name), error=error)


def _copy(draft: AgentMessage, name: str) -> AgentMessage:
    return replace(draft, to_agent=name)
