"""Which messages a command is about: by type, sender and level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hivebus import limits
from hivebus.cli.app import App
from hivebus.cli.options import together

if TYPE_CHECKING:
    from hivebus.message import Message

filter_options = together(
    click.option("--type", "types", metavar="TYPE", multiple=True, help="Only of this type; may be repeated."),
    click.option("--from", "senders", metavar="AGENT", multiple=True, help="Only from this agent; likewise."),
    click.option("--priority", "priorities", metavar="LEVEL", multiple=True, help="Only of this level; likewise."),
)
"""Adds these options; `filter_of` reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages are wanted; empty is all of them."""

    types: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    priorities: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.types or self.senders or self.priorities)

    def wants(self, message: Message) -> bool:
        """Tell whether *message* is wanted."""
        return (
            (not self.types or message.message_type in self.types)
            and (not self.senders or message.from_agent in self.senders)
            and (not self.priorities or message.priority.value in self.priorities)
        )


def filter_of(app: App, *, types: Sequence[str], senders: Sequence[str], priorities: Sequence[str]) -> Filter:
    """Return what those options say, or raise `InvalidMessage` for a value that no message can have."""
    return Filter(
        types=frozenset(limits.check_message_type(each) for each in types),
        senders=frozenset(app.name_of(each, field="--from") for each in senders),
        priorities=frozenset(limits.check_priority(each) for each in priorities),
    )
