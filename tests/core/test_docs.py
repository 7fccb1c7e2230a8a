"""The documentation and the code say the same: hooks, settings, errors, numbers and links."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

import hivebus
from hivebus import errors, facts, hookspecs, outbox, retry
from hivebus.cli.exit_codes import exit_code_of
from hivebus.cli.receive import KEPT_LEASE
from hivebus.codec import Codec
from hivebus.message import DeliveryOptions
from hivebus.plugins import Plugins
from hivebus.setting_rules import SETTINGS
from hivebus.settings import PROJECT_FILE, load
from hivebus.transport import LADDERS, Capabilities, State

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
HOOKS = {name: each for name, each in vars(hookspecs).items() if hasattr(each, "hivebus_spec")}
ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.HivebusError)]


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, title: str) -> str:
    """Return what stands below a heading, up to the next one."""
    return re.split(r"^#+ ", text.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows but heads and rulers, without backticks."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)*)", text, flags=re.MULTILINE)
    found = [row for each in tables for row in each.splitlines()]
    return [[cell.strip().replace("`", "") for cell in row[1:-1].split("|")] for row in found]


# --- Hooks ------------------------------------------------------------------------------------------


def plugin(hook: str) -> ModuleType:
    """Return the example of a hook as a module."""
    (code,) = re.findall(r"```python\n(.*?)```", section(page("hooks.md"), hook), flags=re.DOTALL)
    module = ModuleType(f"example_of_{hook}")
    exec(compile(code, f"docs/hooks.md#{hook}", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_signature(hook: str) -> None:
    signature = f"{hook}{inspect.signature(HOOKS[hook])}".replace("'", "")
    assert f"\n`{signature}`\n" in section(page("hooks.md"), hook)


def test_no_hook_is_documented_that_does_not_exist() -> None:
    assert re.findall(r"^### (\w+)$", page("hooks.md"), flags=re.MULTILINE) == list(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_is_a_plugin(hook: str) -> None:
    assert hook in vars(plugin(hook))
    Plugins([plugin(hook)], installed=False)


@pytest.mark.parametrize(
    ("hook", "fact"),
    [
        ("messages_sent", facts.Sent),
        ("messages_delivered", facts.Delivered),
        ("messages_settled", facts.SettledFact),
        ("evidence_seen", facts.Evidenced),
    ],
)
def test_every_field_of_a_fact_is_named(hook: str, fact: type[tuple[object, ...]]) -> None:
    text = section(page("hooks.md"), hook)
    assert [name for name in fact._fields if f"`{name}`" not in text] == []  # type: ignore[attr-defined]


def test_the_transport_of_the_example_serves_its_scheme() -> None:
    assert Plugins([plugin("register_transports")], installed=False).schemes["spool"].transport == "hivebus_spool:Spool"


def test_the_codec_of_the_example_refuses_what_was_changed() -> None:
    codec: Codec = Plugins([plugin("register_codecs")], installed=False).codec(limit=1000)
    message = hivebus.Message(from_agent="a", to_agent="b", body={"content": "x"})
    data = codec.encode(message)
    assert codec.decode(data) == message
    with pytest.raises(errors.InvalidMessage, match="our key") as refused:
        codec.decode(data[:-1] + b" ")
    assert refused.value.why == "bad_signature"


async def test_the_middleware_of_the_example_refuses_and_changes() -> None:
    async with hivebus.Bus("memory://", agent="pm-agent", plugins=[plugin("register_middleware")]) as bus:
        heard = await one_round(bus, "hello")
        assert heard == ["pm-agent says: hello"]
        with pytest.raises(errors.NotPermitted, match="stays where it is"):
            await bus.send("pm-agent", "-----BEGIN PRIVATE KEY-----")


def test_the_command_of_the_example_is_added() -> None:
    module = plugin("register_commands")
    (command,) = Plugins([module], installed=False).commands()
    assert (command.name, command.target) == ("greet", "my_plugin:greet")
    assert module.greet.help == command.summary + "."


async def test_the_observers_of_the_examples_see_what_happened() -> None:
    sent, delivered, settled = (plugin(f"messages_{each}") for each in ("sent", "delivered", "settled"))
    async with hivebus.Bus("memory://", agent="pm-agent", plugins=[sent, delivered, settled]) as bus:
        await one_round(bus, "twice")
        assert sent.sent == {"stored": 1}
        (came_again,) = delivered.came_again
        assert settled.given_up == {came_again: "enough"}


async def one_round(bus: hivebus.Bus, content: str) -> list[object]:
    """Send a message to oneself and handle it: fail with one that says twice, and give it up when it comes again."""
    heard: list[object] = []

    @bus.on()
    async def handle(message: hivebus.Message) -> None:
        heard.append(message.content)
        if content == "twice":
            if len(heard) == 1:
                raise RuntimeError
            bus.stop()
            raise hivebus.Reject("enough")
        bus.stop()

    await bus.send(bus.agent, content, retry_delay=0)
    await bus.run()
    return heard


# --- Settings and errors -------------------------------------------------------------------------------


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    documented = {cells[0]: cells[1:3] for cells in rows(page("settings.md"))}
    assert list(documented) == list(SETTINGS)
    for name, setting in SETTINGS.items():
        variable, default = documented[name]
        assert variable == ("" if name == "aliases" else f"HIVEBUS_{name.upper()}")
        assert (None if default == "none" else setting.check(default)) == (setting.default or None)


def test_the_file_of_the_settings_page_is_read_as_it_says(tmp_path: Path) -> None:
    (file,) = re.findall(r"```toml\n(.*?)```", page("settings.md"), flags=re.DOTALL)
    (tmp_path / PROJECT_FILE).write_text(file)
    found = load(environ={"REDIS_PASSWORD": "secret", "XDG_CONFIG_HOME": str(tmp_path)}, cwd=str(tmp_path))
    assert found.url == "redis://:secret@bus.example.org:6379"
    assert (found.namespace, found.lease, found.name_of("Project Manager")) == ("web-team", 30, "pm-agent")


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_documented_with_its_exit_code(error: type[errors.HivebusError]) -> None:
    if error is errors.HivebusError:
        assert "`HivebusError`" in page("errors.md")
        return
    documented = {cells[0]: cells[2] for cells in rows(page("errors.md")) if len(cells) == 3}
    assert documented[error.__name__] == str(int(exit_code_of(error.__new__(error))))


# --- Capabilities, states, numbers ---------------------------------------------------------------------


def test_every_capability_is_documented_for_authors() -> None:
    text = section(page("write-a-transport.md"), "Capabilities")
    documented = {cells[0]: cells[1] for cells in rows(text)}
    assert list(documented) == [name for name, _ in Capabilities().items()]
    for name, words in LADDERS.items():
        assert [word for word in words if word not in documented[name]] == []


def test_every_state_is_documented() -> None:
    assert [cells[0] for cells in rows(section(page("delivery.md"), "States"))] == list(get_args(State))


def test_the_numbers_of_delivery_are_those_of_the_code() -> None:
    functions = ROOT / "plugins/hivebus_redis/functions"
    lua, pool = (functions / "common.lua").read_text(), (functions / "pool.lua").read_text()
    bus = inspect.signature(hivebus.Bus).parameters
    options = DeliveryOptions()
    assert rows(section(page("delivery.md"), "Numbers")) == [
        ["dedup window after settling", f"{constant(lua, 'DEDUP') // 1000} s"],
        ["dead letters are kept", f"{constant(lua, 'DEAD_KEPT') // 86_400_000} days"],
        ["settled messages are kept", f"{constant(lua, 'HISTORY') // 3_600_000} h"],
        ["lease of a Bus", f"{bus['lease'].default:g} s"],
        ["lease of hivebus receive", f"{KEPT_LEASE:g} s"],
        ["what a handler returned is kept, with once=True", f"{constant(lua, 'OUTCOME_KEPT') // 1000} s"],
        ["max_retries", f"{options.max_retries}"],
        ["retry_delay", f"{options.retry_delay} s"],
        ["factor between two retries", f"{retry.FACTOR:g}"],
        ["longest wait between two attempts, before the spread", f"{retry.MAX_DELAY:g} s"],
        ["spread of a retry, either way", f"{retry.JITTER:.0%}".replace("%", " %")],
        ["max_crashes", f"{bus['max_crashes'].default}"],
        ["a bus sends again while the outcome is unknown, for", f"{outbox.GIVE_UP_AFTER:g} s"],
        ["a message of a pool waits for the member whose turn it is, for", f"{constant(pool, 'PATIENCE')} ms"],
        ['a sender waits for room, with on_full="wait", for', f"{outbox.WAIT_WHEN_FULL:g} s"],
    ]


def constant(lua: str, name: str) -> int:
    (factors,) = re.findall(rf"^local {name} = ([\d *]+)$", lua, flags=re.MULTILINE)
    product = 1
    for factor in factors.split("*"):
        product *= int(factor)
    return product


def test_no_page_promises_what_nobody_can() -> None:
    for each in PAGES:
        assert re.findall(r"exactly.once|guarantee", each.read_text(), flags=re.IGNORECASE) == [], each


# --- Links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    assert list(broken_links(path, path.read_text())) == []


def test_saboteur_a_link_that_leads_nowhere_is_noticed() -> None:
    here = DOCS / "README.md"
    assert list(broken_links(here, "[a](nowhere.md) [b](delivery.md) [c](delivery.md#states)")) == ["nowhere.md"]
    assert list(broken_links(here, "[d](delivery.md#no-such-part) [e](https://example.org)")) == [
        "delivery.md#no-such-part"
    ]


def test_every_page_is_in_the_index() -> None:
    index = page("README.md")
    assert [
        each.name for each in sorted(DOCS.glob("*.md")) if each.name != "README.md" and f"({each.name})" not in index
    ] == []


def broken_links(path: Path, text: str) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, part = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (part and part not in anchors(target.read_text())):
            yield link


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
