"""Plugins: found, asked, and kept from harming anybody."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hivebus import plugin_index
from hivebus.bus import Bus
from hivebus.errors import ConfigError
from hivebus.facts import Sent
from hivebus.hookspecs import RegisterCommand, hookimpl
from hivebus.memory.transport import MemoryTransport
from hivebus.message import Message
from hivebus.plugins import Plugins, build_index
from hivebus.transport import Endpoint, Scheme

from .flaky import FlakyTransport, Serving

GOOD = """
from hivebus.hookspecs import hookimpl
from hivebus.transport import Scheme

@hookimpl
def register_transports(register):
    register(Scheme(name="carrier", transport="carrier_pigeon:Pigeon", summary="slow"))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path, in which packages can be installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    # The first entry of the path is the folder of the program, and not looked at.
    sys.path.insert(0, "")
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("installed_"):
            del sys.modules[name]


def install(site: Path, name: str, source: str | None) -> None:
    """Install a distribution with one plugin in it; without a source its module is missing."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hivebus]\n{name} = installed_{name}\n")
    if source is not None:
        (site / f"installed_{name}.py").write_text(source)


# --- What is installed ---------------------------------------------------------------------------------


def test_the_built_in_ones_are_found_like_everybody_elses() -> None:
    plugins = Plugins()
    assert {"memory", "redis"} <= {found.name for found in plugins.found}
    assert {"memory", "redis", "rediss"} <= set(plugins.schemes)
    assert isinstance(plugins.transport(Endpoint(url="memory://")), MemoryTransport)


def test_an_installed_plugin_is_found(site: Path) -> None:
    install(site, "pigeons", GOOD)
    plugins = Plugins()
    assert [(each.version, each.error) for each in plugins.found if each.name == "pigeons"] == [("1.0", None)]
    assert plugins.schemes["carrier"].summary == "slow"
    assert plugin_index.read().scheme("carrier://x") == plugins.schemes["carrier"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named 'installed_broken'"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("def", "SyntaxError"),
        (
            "from hivebus.hookspecs import hookimpl\n@hookimpl\ndef register_transport(register): pass\n",
            "ConfigError: plugin 'broken' does not fit the hooks",
        ),
    ],
    ids=["missing", "raises", "no Python", "misspelt"],
)
def test_a_broken_plugin_is_named_and_the_others_are_loaded(
    site: Path, source: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "broken", source)
    install(site, "pigeons", GOOD)
    plugins = Plugins()
    errors = {each.name: each.error for each in plugins.found}
    assert errors["broken"] is not None and errors["broken"].startswith(reason)
    assert errors["pigeons"] is errors["memory"] is None
    assert {"carrier", "memory"} <= set(plugins.schemes)
    assert "broken" in {getattr(record, "plugin", None) for record in caplog.records}


def test_the_index_remembers_what_is_broken(site: Path) -> None:
    install(site, "broken", None)
    assert [each.error for each in plugin_index.read().plugins if each.name == "broken"] == [
        "ModuleNotFoundError: No module named 'installed_broken'"
    ]


# --- Transports ------------------------------------------------------------------------------------------


def test_an_unknown_scheme_lists_the_installed_ones() -> None:
    with pytest.raises(ConfigError, match="no transport called 'nope'; installed: .*memory, redis") as caught:
        Plugins().transport(Endpoint(url="nope://host"))
    assert caught.value.hint == "hivebus transports"


async def test_a_bus_with_an_unknown_scheme_says_so_too() -> None:
    with pytest.raises(ConfigError, match="no transport called 'nope'"):
        async with Bus("nope://host", agent="pm"):
            pass


def test_a_plugin_that_is_handed_over_wins_over_an_installed_one() -> None:
    transport = FlakyTransport()
    assert Plugins([Serving(transport)]).transport(Endpoint(url="memory://")) is transport


def test_of_two_that_are_handed_over_the_last_wins() -> None:
    first, last = FlakyTransport(), FlakyTransport()
    assert Plugins([Serving(first), Serving(last)]).transport(Endpoint(url="memory://")) is last


def test_two_managers_know_nothing_of_each_other() -> None:
    Plugins([Serving(FlakyTransport())])
    assert isinstance(Plugins().transport(Endpoint(url="memory://")), MemoryTransport)
    assert not isinstance(Plugins().transport(Endpoint(url="memory://")), FlakyTransport)


# --- What does not fit -----------------------------------------------------------------------------------


def test_a_misspelt_hook_is_a_config_error_that_names_plugin_and_hook() -> None:
    class Misspelt:
        @hookimpl
        def message_sent(self, facts: Sequence[Sent]) -> None:
            """Never called: the hook is messages_sent."""

    with pytest.raises(ConfigError, match=r"Misspelt .*message_sent") as caught:
        Plugins([Misspelt()])
    assert caught.value.hint == "hivebus.hookspecs lists every hook"


def test_a_hook_that_asks_for_what_there_is_not_is_a_config_error() -> None:
    class Misspelt:
        @hookimpl
        def messages_sent(self, messages: Sequence[Sent]) -> None:
            """Never called: the argument is facts."""

    with pytest.raises(ConfigError, match=r"does not fit the hooks"):
        Plugins([Misspelt()])


def test_a_misspelt_hook_is_accepted_without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: without the check, nobody would notice."""
    monkeypatch.setattr("pluggy.PluginManager.check_pending", lambda manager: None)
    with pytest.raises(pytest.fail.Exception), pytest.raises(ConfigError):
        test_a_misspelt_hook_is_a_config_error_that_names_plugin_and_hook()


# --- Observers -------------------------------------------------------------------------------------------


class Watching:
    def __init__(self) -> None:
        self.seen: list[Sent] = []

    @hookimpl
    def messages_sent(self, facts: Sequence[Sent]) -> None:
        self.seen += facts


class Raising:
    @hookimpl
    def messages_sent(self, facts: Sequence[Sent]) -> None:
        raise ZeroDivisionError


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def messages_sent(self) -> None:
        self.calls += 1


async def test_an_observer_that_raises_harms_nobody_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    first, last = Watching(), Watching()
    async with Bus("memory://", agent="pm", plugins=[first, Raising(), last]) as bus:
        receipt = await bus.send("dev", "x")
    assert [fact.message_id for fact in first.seen] == [fact.message_id for fact in last.seen] == [receipt.message_id]
    (record,) = [each for each in caplog.records if each.message == "an observer raised"]
    assert (record.levelno, record.hook) == (logging.ERROR, "messages_sent")  # type: ignore[attr-defined]
    assert record.exc_info and record.exc_info[0] is ZeroDivisionError


async def test_an_observer_may_take_no_argument() -> None:
    counting = Counting()
    async with Bus("memory://", agent="pm", plugins=[counting]) as bus:
        await bus.send("dev", "x")
    assert counting.calls == 1


async def test_called_together_the_first_that_raises_silences_the_others() -> None:
    """Saboteur: what pluggy itself does with observers, and why each is called alone."""
    first = Watching()
    fact = Sent("id", "dev", "event", 2, 10, "stored", 0.1)
    plugins = Plugins([first, Raising()], installed=False)
    with pytest.raises(ZeroDivisionError):
        plugins._manager.hook.messages_sent(facts=[fact])
    assert first.seen == []
    plugins.observe("messages_sent", [fact])
    assert first.seen == [fact]


def test_nobody_gathers_facts_for_nobody() -> None:
    plugins = Plugins([Watching()], installed=False)
    assert plugins.observes("messages_sent")
    assert not plugins.observes("messages_settled")


# --- What plugins add and choose -------------------------------------------------------------------------


class Commanding:
    @hookimpl
    def register_commands(self, register: RegisterCommand) -> None:
        register("dance", "dancing:command", summary="Dance.")


class Choosing:
    @hookimpl
    def choose_legs(self, message: Message, legs: Sequence[str]) -> Sequence[str] | None:
        return list(reversed(legs)) if message.priority == "emergency" else None


def test_a_plugin_adds_commands() -> None:
    assert Plugins([Commanding()], installed=False).commands() == [("dance", "dancing:command", "Dance.")]


def test_a_plugin_chooses_legs_or_leaves_it_to_others() -> None:
    plugins = Plugins([Choosing()], installed=False)
    message = Message(from_agent="pm", to_agent="dev", body={"content": "x"})
    assert plugins.choose_legs(message, ["tmux", "redis"]) is None
    assert plugins.choose_legs(message.replace(priority="emergency"), ["tmux", "redis"]) == ["redis", "tmux"]


def test_what_alters_messages_is_known() -> None:
    class Wrapping:
        @hookimpl
        def register_codecs(self, register: Callable[[Any], None]) -> None:
            """Wrap nothing."""

    assert not Plugins([Watching(), Commanding()], installed=False).alters_messages()
    assert Plugins([Wrapping()], installed=False).alters_messages()


def test_the_index_holds_what_a_process_for_one_message_needs() -> None:
    index = build_index()
    assert not index.alters_messages
    redis = index.scheme("redis://localhost")
    assert isinstance(redis, Scheme) and isinstance(redis.one_shot, str)
    assert index.scheme("nope://") is None
