"""Which leg acts for a message: decided once, and kept for as long as it may be sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hivebus.address import is_temporary
from hivebus.transport import Outgoing
from hivebus_migration.leg import Leg
from hivebus_migration.stages import Stage

REMEMBERED = 65_536
"""Messages; whoever sends one again does so within seconds, and touches it by that."""


@dataclass(slots=True)
class Plan:
    """How one message to one agent travels.

    Attributes:
        stage: the agent's stage when it was first sent.
        acting: the leg whose result the sender gets.
        other: the leg that a copy travels; None for no copy.
        announced: whether its intent is noted and its copy is on its way; only once, however often it is sent.
    """

    stage: Stage
    acting: Leg
    other: Leg | None
    announced: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the legs on which a copy follows."""
        return (self.other.name,) if self.other else ()


class Plans:
    """The plans of this process, by message and inbox.

    A message whose outcome is unknown is sent again under its id. Were it to go by another leg then,
    because its agent was promoted meanwhile, both legs could act on it.
    """

    def __init__(self, main: Leg, legacy: Leg, *, stage_of: Callable[[str], Stage]) -> None:
        self._main = main
        self._legacy = legacy
        self._stage_of = stage_of
        self._plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()

    def of(self, item: Outgoing) -> Plan:
        """Return the plan for a message, made now if it was never sent here."""
        key = item.message_id, item.inbox
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        plan = self._plans[key] = self._made(item)
        if len(self._plans) > REMEMBERED:
            self._plans.popitem(last=False)
        return plan

    def _made(self, item: Outgoing) -> Plan:
        stage = self._stage_of(item.inbox)
        if item.inbox.startswith("@"):
            # Which member of a pool gets it is decided at hand-out, so there is no window to write it into.
            return Plan(stage, self._main, None)
        if item.legs:
            # Somebody chose for this message; the core has checked that there are such legs.
            acting, *others = (self._main if name == self._main.name else self._legacy for name in item.legs)
            return Plan(stage, acting, others[0] if others else None)
        if is_temporary(item.inbox):
            # No window is called so: whoever asked waits for the answer on the bus.
            return Plan(stage, self._main, None)
        acting, other = (self._main, self._legacy) if stage.main_acts else (self._legacy, self._main)
        return Plan(stage, acting, other if stage.copies else None)
