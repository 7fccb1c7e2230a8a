"""The plugin author's page: complete, and one sentence each."""

from __future__ import annotations

import inspect

import pytest

from hivebus import hookspecs
from hivebus.plugins import Plugins

HOOKS = {name: each for name, each in vars(hookspecs).items() if getattr(each, "hivebus_spec", None) is not None}


def test_these_are_the_hooks() -> None:
    assert sorted(HOOKS) == [
        "choose_legs",
        "evidence_seen",
        "messages_delivered",
        "messages_sent",
        "messages_settled",
        "register_codecs",
        "register_commands",
        "register_middleware",
        "register_transports",
    ]


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_told_in_one_sentence(name: str) -> None:
    text = inspect.getdoc(HOOKS[name])
    assert text and "\n" not in text
    assert text.endswith(".") and ". " not in text.replace("...", "")


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_known_to_a_manager(name: str) -> None:
    assert not Plugins(installed=False).observes(name)
