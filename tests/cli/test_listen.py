"""`hivebus listen`, and `hivebus send` to those who listen: nothing is kept, and nothing pretends to be."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

EVERYTHING = "agent.pm-agent.#"


@pytest.fixture
def speak(hivebus: Any) -> Any:
    """Send to those who listen, as another process does that knows only their road."""
    url = hivebus.env["HIVEBUS_URL"].replace("://", "+pubsub://", 1)

    def send(*args: str) -> Any:
        return hivebus("send", *args, "--agent", "sender", env={"HIVEBUS_URL": url})

    return send


def listening(hivebus: Any, *args: str) -> subprocess.Popen[str]:
    """Start a listener, and return it when it listens."""
    process: subprocess.Popen[str] = hivebus.start("listen", *args)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("listening to ")
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_a_line_is_an_object_with_the_message(hivebus: Any, speak: Any) -> None:
    with listening(hivebus, EVERYTHING, "--jsonl", "--count", "2") as process:
        for text in ("Hello\nthere", "again"):
            assert speak("pm-agent", text, "--no-ack", "--type", "build.done").code == 0
        code, out = ended(process)
    one, two = (json.loads(each) for each in out.splitlines())
    assert code == 0
    assert set(one) == {"message"}
    assert (one["message"]["body"]["content"], two["message"]["body"]["content"]) == ("Hello\nthere", "again")
    assert one["message"]["delivery_options"]["require_ack"] is False


def test_people_see_who_said_what_to_whom(hivebus: Any, speak: Any) -> None:
    with listening(hivebus, "agent.*.*", "agent.qa.#", "--count", "1") as process:
        speak("pm-agent,qa", "Hello\x1b[2J", "--no-ack", "--id", "m-1", "--priority", "high")
        code, out = ended(process)
    assert (code, out) == (0, "-- m-1  from sender  to pm-agent,qa  information_share  high\nHello\\x1b[2J\n")


def test_only_what_matches_is_shown(hivebus: Any, speak: Any) -> None:
    with listening(hivebus, "agent.*.system_alert", "agent.qa.*", "--count", "2", "--jsonl") as process:
        for to, kind in (("pm", "event"), ("qa", "a.b"), ("pm", "system_alert"), ("pm", "x"), ("qa", "system_alert")):
            speak(to, f"{to} {kind}", "--no-ack", "--type", kind)
        code, out = ended(process)
    shown = [json.loads(each)["message"]["body"]["content"] for each in out.splitlines()]
    assert (code, shown) == (0, ["pm system_alert", "qa system_alert"])


def test_nothing_came_is_75_with_an_empty_stdout(hivebus: Any) -> None:
    for options in ([], ["--jsonl"], ["--count", "3"]):
        answer = hivebus("listen", EVERYTHING, "--wait", "300ms", *options)
        assert (answer.code, answer.out) == (75, "")


def test_a_wait_ends_what_went_on_when_nothing_comes_any_more(hivebus: Any, speak: Any) -> None:
    with listening(hivebus, EVERYTHING, "--wait", "3s") as process:
        speak("pm-agent", "one", "--no-ack")
        code, out = ended(process)
    assert (code, out.splitlines()[1:]) == (0, ["one"])


@pytest.mark.parametrize(
    ("number", "options", "code"),
    [(signal.SIGINT, [], 0), (signal.SIGTERM, [], 0), (signal.SIGINT, ["--count", "2"], 130)],
)
def test_it_goes_on_until_a_signal(hivebus: Any, speak: Any, number: int, options: list[str], code: int) -> None:
    with listening(hivebus, EVERYTHING, "--jsonl", *options) as process:
        speak("pm-agent", "one", "--no-ack")
        assert process.stdout is not None and '"one"' in process.stdout.readline()
        answer = hivebus.end(process, number)
    assert (answer.code, answer.out) == (code, "")


def test_what_is_no_message_is_skipped(hivebus: Any, speak: Any, behind: redis.Redis) -> None:
    with listening(hivebus, EVERYTHING, "--jsonl", "--count", "1") as process:
        behind.publish(f"{hivebus.env['HIVEBUS_NAMESPACE']}:agent.pm-agent.event", "{no json")
        speak("pm-agent", "good", "--no-ack")
        out, err = process.communicate(timeout=60)
    assert '"good"' in out
    assert "skipped what is no message" in err


def test_a_cut_connection_is_mended_and_said(hivebus: Any, speak: Any, behind: redis.Redis) -> None:
    with listening(hivebus, EVERYTHING, "--jsonl", "--count", "1") as process:
        for client in behind.client_list():
            if int(client["psub"]):
                behind.client_kill_filter(_id=client["id"])
        assert process.stderr is not None
        assert "may have missed notifications" in process.stderr.readline()
        speak("pm-agent", "after", "--no-ack")
        assert '"after"' in ended(process)[1]


IMPATIENT = (
    "import functools; from hivebus_redis import subscription as s;"
    "s.while_away = functools.partial(s.while_away, patience=0.2)"
)


def test_listening_survives_a_server_that_comes_back(hivebus: Any, redis_program: str, short_path: Path) -> None:
    words = ["--port", "0", "--unixsocket", str(short_path / "s"), "--save", "", "--dir", str(short_path)]
    hivebus.env["HIVEBUS_URL"] = f"unix://{short_path / 's'}"

    def serve() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([redis_program, *words], stdout=subprocess.DEVNULL)
        hivebus.eventually(lambda: hivebus("queues").code == 0, what="the server answers")
        return process

    server = serve()
    try:
        with hivebus.start("listen", EVERYTHING, "--jsonl", "--count", "1", sabotage=IMPATIENT) as process:
            assert process.stderr.readline().startswith("listening to ")
            server.kill()
            server.wait(timeout=60)
            assert "trying again until it answers" in process.stderr.readline()
            server = serve()
            assert "may have missed notifications" in process.stderr.readline()
            url = hivebus.env["HIVEBUS_URL"].replace("://", "+pubsub://", 1)
            hivebus.ok("send", "pm-agent", "after", "--no-ack", "-a", "sender", env={"HIVEBUS_URL": url})
            code, out = ended(process)
    finally:
        server.kill()
        server.wait(timeout=60)
    assert (code, json.loads(out)["message"]["body"]["content"]) == (0, "after")


MISTAKES = {
    "none": [],
    "a name": ["pm-agent"],
    "no type": ["agent.pm-agent"],
    "a part of a name": ["agent.pm-*.event"],
    "a hash inside": ["agent.#.event"],
    "one of two": [EVERYTHING, "nonsense!"],
    "one document": [EVERYTHING, "--json"],
    "no number": [EVERYTHING, "--count", "0"],
    "negative wait": [EVERYTHING, "--wait", "-1s"],
}


@pytest.mark.parametrize("args", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_usage_error(hivebus: Any, args: list[str]) -> None:
    answer = hivebus("listen", *args)
    assert (answer.code, answer.out) == (2, "")


def test_who_gives_a_name_instead_of_a_pattern_is_told_the_pattern(hivebus: Any) -> None:
    answer = hivebus("listen", "pm-agent")
    assert "'pm-agent' is no pattern: it must be agent.NAME.TYPE" in answer.err
    assert "'agent.pm-agent.#'" in answer.err


def test_where_nobody_can_listen_it_is_said(hivebus: Any) -> None:
    answer = hivebus("listen", EVERYTHING, env={"HIVEBUS_URL": "redis+pubsub://127.0.0.1:1"})
    assert answer.code == 69


# --- send to who listens ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "capability"),
    [((), "redelivery"), (("--no-ack", "--ttl", "5s"), "ttl"), (("--no-ack", "--delay", "5s"), "delay")],
)
def test_what_cannot_be_kept_is_refused_with_the_capability(
    hivebus: Any, speak: Any, options: tuple[str, ...], capability: str
) -> None:
    with listening(hivebus, EVERYTHING, "--wait", "2s") as process:
        answer = speak("pm-agent", "x", *options)
        assert answer.code == 78
        assert f"lacks the capability {capability}" in answer.err
        assert "next: send it with" in answer.err
        assert ended(process) == (75, "")


def test_a_message_that_nobody_heard_is_noted(speak: Any) -> None:
    answer = speak("pm-agent", "lost", "--no-ack", "--json")
    assert (answer.code, answer.json["evidence"], answer.json["legs"]) == (0, "accepted", {"redis": "accepted"})
    assert "nobody listens to what is sent to pm-agent; the message was not kept" in answer.err


def test_on_a_terminal_nobody_is_told_to_follow_what_is_not_kept(hivebus: Any) -> None:
    url = hivebus.env["HIVEBUS_URL"].replace("://", "+pubsub://", 1)
    code, shown = hivebus.on_terminal("send", "pm-agent", "x", "--no-ack", "-a", "sender", env={"HIVEBUS_URL": url})
    assert code == 0
    assert b"to pm-agent (not kept, nobody listening)" in shown


def test_an_inbox_on_that_road_is_an_error_that_names_what_is_missing(hivebus: Any) -> None:
    url = hivebus.env["HIVEBUS_URL"].replace("://", "+pubsub://", 1)
    answer = hivebus("receive", "--agent", "pm-agent", env={"HIVEBUS_URL": url})
    assert (answer.code, answer.out) == (78, "")
