"""Which leg acts for a message: decided once, and kept for as long as it may be sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from hivebus.address import is_temporary
from hivebus.errors import HivebusError
from hivebus.transport import Outgoing, Published
from hivebus_migration.leg import Leg
from hivebus_migration.stages import Stage

REMEMBERED = 65_536
"""Messages; whoever sends one again does so within seconds, and touches it by that."""
COURSES = 4096
"""Inboxes whose course is remembered; then it begins anew."""
_Key: TypeAlias = tuple[str, str]


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

    def told(self, answer: Published | HivebusError) -> Published | HivebusError:
        """Return what the acting leg answered, as it is told to a sender."""
        if not isinstance(answer, Published):
            return answer
        # Not by `_replace`, the dearest step between an answer and a sender who waits for it.
        state, evidence, idle, readers, _, _, durability, heard, routes = answer
        return Published(state, evidence, idle, readers, self.acting.name, self.others, durability, heard, routes)


class Plans:
    """How the messages of this process travel, by message and inbox.

    A message whose outcome is unknown is sent again under its id. Were it to go by another leg then,
    because its agent was promoted meanwhile, both legs could act on it. So what was sent before a stage changed
    is remembered with its course; as long as none changes, there is one course to each agent and nothing to look up.
    """

    def __init__(self, main: Leg, legacy: Leg, *, stage_of: Callable[[str], Stage]) -> None:
        self._main = main
        self._legacy = legacy
        self._stage_of = stage_of
        self._courses: dict[str, Course] = {}
        self._since: OrderedDict[_Key, Course] = OrderedDict()
        self._before: OrderedDict[_Key, Course] = OrderedDict()

    def of(self, item: Outgoing) -> Course:
        """Return how a message travels: as it did before a stage changed, or by its agent's stage."""
        return (self._before and self._before.get((item.message_id, item.inbox))) or self.course(item)

    def remember(self, item: Outgoing, course: Course) -> bool:
        """Keep how a message left; False if it was sent before."""
        key = item.message_id, item.inbox
        for remembered in (self._since, self._before):
            if key in remembered:
                remembered.move_to_end(key)
                return False
        self._since[key] = course
        if len(self._since) + len(self._before) > REMEMBERED:
            (self._before or self._since).popitem(last=False)
        return True

    def course(self, item: Outgoing) -> Course:
        """Return how a message travels that was never sent before."""
        return (None if item.legs else self._courses.get(item.inbox)) or self._chart(item)

    def stages_changed(self) -> None:
        """Ask for stages again, for messages that were not sent yet; what is on its way must be announced before."""
        self._courses.clear()
        self._before.update(self._since)
        self._since.clear()

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
