"""Settings: who wins, where a value came from, and what is wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebus.errors import ConfigError, InvalidMessage
from hivebus.setting_rules import SETTINGS, seconds
from hivebus.settings import PROJECT_FILE, Settings, load, masked


class Places:
    """The places that settings come from, all empty at first."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "project" / "deep" / "down"
        self.work.mkdir(parents=True)
        self.project = folder / "project" / PROJECT_FILE
        self.user = folder / "config" / "hivebus" / "config.toml"
        self.user.parent.mkdir(parents=True)
        self.env: dict[str, str] = {"XDG_CONFIG_HOME": str(folder / "config"), "PATH": os.environ["PATH"]}

    def load(self, **flags: object) -> Settings:
        return load(flags, environ=self.env, cwd=str(self.work))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_without_any_place_everything_is_the_default(places: Places) -> None:
    settings = places.load()
    assert (settings.url, settings.namespace, settings.agent, settings.lease) == ("embedded://", "hb", None, 15.0)
    assert (settings.max_message, settings.max_messages, settings.max_bytes) == (262_144, 1_000_000, 512 * 1024**2)
    assert (settings.on_full, settings.durability, settings.aliases) == ("error", None, {})
    assert set(settings.sources.values()) == {"default"}
    assert not settings.has_url


def test_each_place_wins_over_the_next(places: Places) -> None:
    places.user.write_text('namespace = "user"')
    assert places.load().namespace == "user"
    places.project.write_text('namespace = "project"')
    assert places.load().namespace == "project"
    places.env["HIVEBUS_NAMESPACE"] = "env"
    assert places.load().namespace == "env"
    assert places.load(namespace="flag").namespace == "flag"


def test_each_value_knows_its_source(places: Places) -> None:
    places.user.write_text('lease = "1m"')
    places.project.write_text('on_full = "wait"')
    places.env["HIVEBUS_MAX_MESSAGE"] = "512KiB"
    settings = places.load(url="redis://localhost")
    assert settings.sources["url"] == "flag --url"
    assert settings.sources["max_message"] == "HIVEBUS_MAX_MESSAGE in the environment"
    assert settings.sources["on_full"] == str(places.project)
    assert settings.sources["lease"] == str(places.user)
    assert (settings.lease, settings.max_message, settings.on_full) == (60, 512 * 1024, "wait")


def test_the_nearest_project_file_is_the_one(places: Places) -> None:
    places.project.write_text('namespace = "far"\nlease = 30')
    (places.work / PROJECT_FILE).write_text('namespace = "near"')
    settings = places.load()
    assert settings.namespace == "near"
    assert settings.sources["lease"] == "default"


def test_an_empty_variable_is_not_set(places: Places) -> None:
    places.env["HIVEBUS_URL"] = ""
    assert places.load().url == "embedded://"


def test_a_flag_of_none_is_not_given(places: Places) -> None:
    places.env["HIVEBUS_NAMESPACE"] = "env"
    assert places.load(namespace=None).namespace == "env"


WRONG = {
    "legacy_url": "agent-hive",
    "ledger": "two\nlines",
    "url": "localhost:6379",
    "namespace": "No Such",
    "agent": "Front End",
    "lease": "soon",
    "durability": "forever",
    "on_full": "drop",
    "max_message": "2MiB",
    "max_messages": "0",
    "max_bytes": "lots",
    "retention": "2ms",
    "retention_bytes": "1KiB",
    "max_hops": "0",
    "quota": "20/d",
}


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_names_setting_value_rule_and_source(places: Places, name: str, value: str) -> None:
    places.env[f"HIVEBUS_{name.upper()}"] = value
    with pytest.raises(ConfigError) as found:
        places.load()
    text = str(found.value)
    for part in (name, repr(value), SETTINGS[name].rule, f"HIVEBUS_{name.upper()}"):
        assert part in text


@pytest.mark.parametrize(
    "line",
    [
        "lease = true",
        "lease = nan",
        "lease = 0",
        "max_message = 1.5",
        "url = 6379",
        "aliases = 1",
        "[aliases]\nOld = 'Also Old'",
    ],
)
def test_a_wrong_value_in_a_file_names_the_file(places: Places, line: str) -> None:
    places.user.write_text(line)
    with pytest.raises(ConfigError, match="config.toml"):
        places.load()


def test_every_setting_refuses_something() -> None:
    assert set(WRONG) | {"aliases"} == set(SETTINGS)


def test_a_misspelt_setting_in_a_file_is_an_error(places: Places) -> None:
    places.project.write_text('namespaces = "test"')
    with pytest.raises(ConfigError, match="there is no setting 'namespaces'.*namespace"):
        places.load()


def test_a_file_that_is_no_toml_is_named(places: Places) -> None:
    places.project.write_text("namespace = ")
    with pytest.raises(ConfigError, match=f"{PROJECT_FILE} cannot be read"):
        places.load()


def test_a_wrong_agent_in_a_flag_breaks_the_message_and_not_the_config(places: Places) -> None:
    with pytest.raises(InvalidMessage, match="agent"):
        places.load(agent="Front End")


def test_an_alias_stands_for_a_legacy_name(places: Places) -> None:
    places.user.write_text('[aliases]\n"Front End" = "frontend-agent"')
    places.env["HIVEBUS_AGENT"] = "Front End"
    settings = places.load()
    assert settings.agent == "frontend-agent"
    assert settings.name_of("Front End") == "frontend-agent"
    assert settings.name_of("pm-agent") == "pm-agent"
    assert places.load(agent="Front End").agent == "frontend-agent"


def test_a_url_may_name_variables(places: Places) -> None:
    places.project.write_text('url = "redis://:${SECRET}@localhost"')
    places.env["SECRET"] = "s3cret"
    assert places.load().url == "redis://:s3cret@localhost"


def test_a_variable_that_is_not_there_is_an_error(places: Places) -> None:
    places.project.write_text('url = "redis://:${SECRET}@localhost"')
    with pytest.raises(ConfigError, match="SECRET"):
        places.load()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pw@localhost", "redis://:***@localhost"),
        ("redis://me:p@w@localhost/1", "redis://me:***@localhost/1"),
        ("redis://h?password=pw&db=1", "redis://h?password=***&db=1"),
        ("rediss://h/0?db=1&access_token=pw#x", "rediss://h/0?db=1&access_token=***#x"),
        ("tmux://session:1?socket=name", "tmux://session:1?socket=name"),
    ],
)
def test_secrets_of_a_url_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_an_error_about_a_url_shows_no_password(places: Places) -> None:
    places.env["HIVEBUS_URL"] = "Redis://me:s3cret@localhost"
    with pytest.raises(ConfigError) as found:
        places.load()
    assert "s3cret" not in str(found.value)
    assert "***" in str(found.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90),
        ("30s", 30),
        ("5m", 300),
        ("24h", 86_400),
        ("2d", 172_800),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("-5s", -5),
        (7, 7),
    ],
)
def test_durations_are_what_people_write(text: object, value: float) -> None:
    assert seconds(text) == value
    assert type(seconds(text)) is type(value)


@pytest.mark.parametrize("text", ["", "soon", "5 m", "m5", "1e3", "5y", "--5", "1h30", "nan", "inf", None, True])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


def test_loading_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); from hivebus.settings import load;"
        "load({'namespace': 'x'}, environ={}, cwd='/'); new = set(sys.modules) - before;"
        "print([m for m in ('pydantic', 'asyncio', 'redis', 'tomllib', 'subprocess', 'pluggy') if m in new])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
