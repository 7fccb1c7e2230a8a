"""Which leg acts for a message: decided once, and kept for as long as it may be sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from hivebus.address import is_temporary
from hivebus.transport import Outgoing
from hivebus_migration.leg import Leg
from hivebus_migration.stages import Stage

REMEMBERED = 65_536
"""Messages; whoever sends one again does so within seconds, and touches it by that."""
COURSES = 4096
"""Inboxes whose course is remembered; then it begins anew."""


class Course:
    """How messages to one agent travel while its stage stays as it is.

    Attributes:
        stage: the agent's stage.
        acting: the leg whose result the sender gets.
        other: the leg that a copy travels; None for no copy.
        others: its name, if there is one.
    """

    __slots__ = ("acting", "other", "others", "stage")

    def __init__(self, stage: Stage, acting: Leg, other: Leg | None) -> None:
        self.stage = stage
        self.acting = acting
        self.other = other
        self.others = (other.name,) if other else ()


class Plan:
    """How one message to one agent travels.

    Attributes:
        course: of its agent, when it was first sent.
        announced: whether its intent is noted and its copy is on its way; only once, however often it is sent.
    """

    __slots__ = ("announced", "course")

    def __init__(self, course: Course) -> None:
        self.course = course
        self.announced = False


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
        self._courses: dict[str, Course] = {}

    def of(self, item: Outgoing) -> Plan:
        """Return the plan for a message, made now if it was never sent here."""
        key = item.message_id, item.inbox
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        plan = self._plans[key] = Plan(self.course(item))
        if len(self._plans) > REMEMBERED:
            self._plans.popitem(last=False)
        return plan

    def course(self, item: Outgoing) -> Course:
        """Return how a message travels that was never sent before."""
        return (None if item.legs else self._courses.get(item.inbox)) or self._chart(item)

    def stages_changed(self) -> None:
        """Ask for stages again, for messages that were not sent yet."""
        self._courses.clear()

    def _chart(self, item: Outgoing) -> Course:
        stage = self._stage_of(item.inbox)
        if item.inbox.startswith("@"):
            # Which member of a pool gets it is decided at hand-out, so there is no window to write it into.
            return Course(stage, self._main, None)
        if item.legs:
            # Somebody chose for this message; the core has checked that there are such legs.
            acting, *others = (self._main if name == self._main.name else self._legacy for name in item.legs)
            return Course(stage, acting, others[0] if others else None)
        if is_temporary(item.inbox):
            # No window is called so: whoever asked waits for the answer on the bus.
            return Course(stage, self._main, None)
        acting, other = (self._main, self._legacy) if stage.main_acts else (self._legacy, self._main)
        if len(self._courses) >= COURSES:
            self._courses.clear()
        course = self._courses[item.inbox] = Course(stage, acting, other if stage.copies else None)
        return course
