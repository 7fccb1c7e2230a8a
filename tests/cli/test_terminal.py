"""What reaches a terminal: tables for people, and never a command of somebody else's message."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from hivebus.cli import output

ME = ("--agent", "pm-agent")
EVIL = "\x1b[31mred\x1b]0;title\x07 \x9b2J \x7f\x08\r over \u202eback\u2066 \u2028 \x00".replace("\x00", "")
COMMANDS = [
    ["inbox", *ME],
    ["receive", *ME],
    ["receive", *ME, "--json"],
    ["receive", *ME, "--jsonl"],
    ["inbox", *ME, "--json"],
]


def commands_of(shown: str) -> list[str]:
    """Return what in *shown* a terminal would obey, but for line ends and our own bold."""
    rest = shown.replace("\r\n", "\n").replace("\x1b[1m", "").replace("\x1b[0m", "")
    return re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", rest)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: " ".join(each[::3]))
def test_no_message_commands_the_terminal(hivebus: Any, command: list[str]) -> None:
    hivebus.ok("send", "pm-agent", "-", "--agent", "sender", stdin=EVIL.encode())
    code, shown = hivebus.on_terminal(*command)
    assert code == 0
    assert b"red" in shown
    assert commands_of(shown.decode()) == []


def test_no_reason_of_a_dead_letter_commands_the_terminal(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    hivebus.ok("receive", *ME)
    hivebus.ok("reject", "m-1", EVIL, *ME)
    for command in (["dlq", "list"], ["dlq", "show", "m-1"], ["trace", "m-1"]):
        code, shown = hivebus.on_terminal(*command)
        assert code == 0
        assert b"red" in shown
        assert commands_of(shown.decode()) == []


def test_no_error_commands_the_terminal(hivebus: Any) -> None:
    answer = hivebus("ack", EVIL, *ME)
    assert answer.code == 1
    assert commands_of(answer.err) == []


def test_saboteur_text_that_is_not_neutralised_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(act: Callable[[], None]) -> str:
        act()
        return capsys.readouterr().out

    acts: list[Callable[[], None]] = [
        lambda: output.line(EVIL),
        lambda: output.table(("TEXT",), [(EVIL,)]),
        lambda: output.json_line({"text": EVIL}),
    ]
    for act in acts:
        assert commands_of(shown(act)) == []
    monkeypatch.setattr(output, "_hostile", lambda replacement, text: text)
    monkeypatch.setattr(output, "_hostile_in_cell", lambda replacement, text: text)
    for act in acts:
        assert commands_of(shown(act)) != []


def test_json_gives_the_text_back_as_it_was(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", "-", "--agent", "sender", stdin=EVIL.encode())
    [line] = hivebus.ok("receive", *ME, "--jsonl").lines
    assert line["message"]["body"]["content"] == EVIL


def test_a_terminal_gets_a_table_with_a_head(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x")
    _, shown = hivebus.on_terminal("queues")
    head, row = shown.decode().splitlines()
    assert head.startswith("\x1b[1mAGENT")
    assert row.split()[:2] == ["pm-agent", "1"]


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_no_colour_is_no_colour(hivebus: Any, plain: dict[str, str]) -> None:
    hivebus.send("pm-agent", "x")
    _, shown = hivebus.on_terminal("queues", env=plain)
    assert shown.startswith(b"AGENT")
    assert b"\x1b" not in shown


def test_a_terminal_gets_as_much_of_an_id_as_tells_it_apart(hivebus: Any) -> None:
    for name in ("message-number-1", "message-number-2"):
        hivebus.send("pm-agent", "x", "--id", name)
        hivebus.ok("receive", *ME)
    hivebus.send("pm-agent", "x")
    _, shown = hivebus.on_terminal("inbox", *ME)
    assert [len(row.split()[0]) for row in shown.decode().splitlines()[1:]] == [16] * 3
    hivebus.ok("ack", "message-number-1", "message-number-2", *ME)
    _, shown = hivebus.on_terminal("inbox", *ME)
    [row] = shown.decode().splitlines()[1:]
    assert len(row.split()[0]) == 8
    hivebus.ok("receive", *ME)
    hivebus.ok("ack", row.split()[0], *ME)


def test_a_pipe_gets_rows_without_a_head(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x")
    assert hivebus.ok("queues").rows[0][:2] == ["pm-agent", "1"]


def test_people_are_told_what_was_sent_and_how_to_follow_it(hivebus: Any) -> None:
    code, shown = hivebus.on_terminal("send", "pm-agent", "x", "--agent", "me", "--id", "m-1")
    assert code == 0
    assert shown.decode().startswith("sent m-1 to pm-agent (stored")


def test_a_locale_without_unicode_harms_nothing(hivebus: Any) -> None:
    hivebus.send("pm-agent", "naïve \N{PARTY POPPER}")
    answer = hivebus.ok(
        "receive", *ME, env={"LC_ALL": "POSIX", "LANG": "", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    )
    assert "naïve \N{PARTY POPPER}" in answer.out


def test_without_a_url_one_line_says_which_server_is_used(offline: Any, short_path: Any) -> None:
    (short_path / "run").mkdir(mode=0o700)
    folders = {"XDG_RUNTIME_DIR": str(short_path / "run"), "XDG_STATE_HOME": str(short_path / "state")}
    offline.env.update(folders, HIVEBUS_NAMESPACE="shell-two")
    try:
        answer = offline.ok("send", "pm-agent", "Hello", "--agent", "me")
        assert answer.err.splitlines()[0].startswith(
            "hivebus: no URL configured, using the embedded server of namespace shell-two"
        )
        assert sum("no URL configured" in line for line in answer.err.splitlines()) == 1
        received = offline.ok("receive", *ME, "--jsonl")
        assert received.lines[0]["message"]["body"]["content"] == "Hello"
        assert sum("no URL configured" in line for line in received.err.splitlines()) == 1
        assert offline.ok("inbox", *ME, "--quiet").err == ""
        offline.ok("ack", received.lines[0]["message"]["message_id"], *ME)
    finally:
        offline("down")
