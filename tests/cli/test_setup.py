"""`hivebus config`, `schema`, `plugins`, `transports`, `completion`, `version`: they need no server."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hivebus.message import Message

OFFLINE = [
    ["config", "show"],
    ["schema", "message"],
    ["plugins", "list"],
    ["transports", "list"],
    ["completion", "bash"],
    ["version"],
    ["--help"],
]


# No server can be found, started or reached in this environment: who tries exits with 69.
NOWHERE = {
    "XDG_STATE_HOME": "/proc/nowhere",
    "XDG_RUNTIME_DIR": "/proc/nowhere",
    "HIVEBUS_SERVER_BIN": "/bin/false",
}


@pytest.mark.parametrize("command", OFFLINE, ids=lambda each: " ".join(each))
def test_it_neither_starts_nor_contacts_a_server(offline: Any, command: list[str]) -> None:
    assert offline(*command, env=NOWHERE).code == 0
    assert offline(*command, env={"HIVEBUS_URL": "redis://127.0.0.1:1"}).code == 0


def test_saboteur_a_command_that_needs_a_server_is_noticed(offline: Any) -> None:
    assert offline("queues", env=NOWHERE).code == 69


def test_config_show_names_value_and_source(offline: Any, tmp_path: Path) -> None:
    (tmp_path / ".hivebus.toml").write_text('url = "redis://me:s3cret@localhost/1"\n[aliases]\n"Old" = "new"')
    facts = offline.ok("config", "show", "--json", "-n", "flag", env={"HIVEBUS_LEASE": "1m"}).json
    assert facts["schema"] == "hivebus.config.show/1"
    settings = facts["settings"]
    assert settings["url"] == {"value": "redis://me:***@localhost/1", "source": str(tmp_path / ".hivebus.toml")}
    assert settings["namespace"] == {"value": "flag", "source": "flag --namespace"}
    assert settings["lease"] == {"value": 60, "source": "HIVEBUS_LEASE in the environment"}
    assert settings["agent"] == {"value": None, "source": "default"}
    assert settings["aliases"]["value"] == {"Old": "new"}


def test_config_show_shows_no_password_to_people_either(offline: Any) -> None:
    shown = offline.ok("config", "show", env={"HIVEBUS_URL": "redis://:s3cret@localhost"})
    assert "s3cret" not in shown.out
    assert ["namespace", "hb", "default"] in shown.rows


def test_a_wrong_setting_is_78_and_says_where_it_is(offline: Any, tmp_path: Path) -> None:
    (tmp_path / ".hivebus.toml").write_text('lease = "soon"')
    answer = offline("config", "show", "--json")
    assert (answer.code, answer.out) == (78, "")
    error = json.loads(answer.err)["error"]
    assert error["code"] == "config_error"
    assert ".hivebus.toml" in error["message"]


def test_the_schema_accepts_both_shapes_and_nothing_else(offline: Any) -> None:
    schema = offline.ok("schema", "message").json
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    message = Message(from_agent="a", to_agent="b", body={"content": "x"})
    assert valid(json.loads(message.to_json()))
    assert valid(message.to_short())
    assert valid({"from": "a", "to": "broadcast", "payload": {"any": 1}, "timestamp": 1699999999})
    assert valid({"from_agent": "a", "to_agent": ["b", "c"], "body": {"content": None}, "some": "extra"})
    assert not valid({"from_agent": "Front End", "to_agent": "b", "body": {"content": "x"}})
    assert not valid({"from_agent": "a", "to_agent": "b"})
    assert not valid({"from": "a", "to": "b"})
    assert not valid("text")


def test_plugins_and_transports_are_listed(offline: Any) -> None:
    plugins = offline.ok("plugins", "list", "--json").json["plugins"]
    assert {"memory", "redis"} <= {each["name"] for each in plugins}
    assert all(each["error"] is None for each in plugins)
    transports = offline.ok("transports", "list", "--json").json["transports"]
    assert {"memory", "redis", "embedded"} <= {each["scheme"] for each in transports}


def test_a_transport_is_described_with_values(hivebus: Any) -> None:
    facts = hivebus.ok("transports", "describe", "--json").json
    assert facts["capabilities"]["priority"] == {"support": "native", "value": 5}
    facts = hivebus.ok("transports", "describe", "memory://", "--json").json
    assert facts["url"] == "memory://"
    assert facts["capabilities"]["durability"]["support"] in ("native", "emulated", "absent")


def test_a_transport_that_nobody_serves_is_78(hivebus: Any) -> None:
    assert hivebus("transports", "describe", "carrier-pigeon://loft").code == 78


def test_checking_a_transport_reports_what_was_proven(offline: Any) -> None:
    only = ("--only", "one_id_is_one_message", "--only", "acking_twice_is_harmless")
    facts = offline.ok("plugins", "check", "memory://", *only, "--json").json
    assert (facts["schema"], facts["subject"], facts["ok"]) == ("hivebus.plugins.check/1", "memory://", True)
    assert [each["name"] for each in facts["checks"]] == ["one_id_is_one_message", "acking_twice_is_harmless"]
    assert all(each["verdict"] == "passed" for each in facts["checks"])
    assert "2 passed, 0 failed" in offline.ok("plugins", "check", "memory://", *only).out


def test_checking_what_does_not_answer_is_no_success(offline: Any) -> None:
    answer = offline("plugins", "check", "redis://127.0.0.1:1")
    assert (answer.code, answer.out) == (69, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(offline: Any, shell: str) -> None:
    assert "_HIVEBUS_COMPLETE" in offline.ok("completion", shell).out


def test_completion_of_an_unknown_shell_is_a_usage_error(offline: Any) -> None:
    assert offline("completion", "tcsh").code == 2


def test_bash_completes_a_command_with_the_script(offline: Any) -> None:
    words = "COMP_WORDS=(hivebus rec); COMP_CWORD=1; _hivebus_completion hivebus; echo ${COMPREPLY[@]}"
    env = {**offline.env, "PATH": f"{Path(sys.executable).parent}:{offline.env['PATH']}"}
    script = f"{offline.ok('completion', 'bash').out}\n{words}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True, env=env)
    assert done.stdout.split() == ["receive"]


def test_version_names_hivebus_and_its_plugins(offline: Any) -> None:
    facts = offline.ok("version", "--json").json
    assert facts["version"] == version("hivebus")
    assert facts["plugins"]["redis"] == version("hivebus")
    assert offline.ok("version").rows[0] == ["hivebus", version("hivebus")]
