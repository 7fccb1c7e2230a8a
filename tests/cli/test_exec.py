"""`hivebus receive --exec`: a command per message, and what becomes of the message."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

ME = ("--agent", "pm-agent")
NASTY = """"$(touch pwned)" `touch pwned`; touch pwned & touch pwned\ntouch pwned '&& touch pwned'"""


def state(hivebus: Any, message_id: str) -> str:
    found: str = hivebus.ok("trace", message_id, "--json").json["state"]
    return found


def test_exit_0_acks(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    answer = hivebus.ok("receive", *ME, "--exec", "exit 0")
    assert answer.out == ""
    assert state(hivebus, "m-1") == "acknowledged"
    assert hivebus.queue("pm-agent")["consumers"] == 0


def test_the_command_gets_message_and_facts(hivebus: Any) -> None:
    options = ("--id", "m-1", "--type", "question", "--priority", "high", "--correlation-id", "m-0")
    hivebus.send("pm-agent", "Hello", *options)
    names = ("MESSAGE_ID", "FROM", "TO", "TYPE", "PRIORITY", "ATTEMPT", "CORRELATION_ID", "REPLY_TO", "AGENT")
    told = " ".join(f"$HIVEBUS_{name}" for name in names)
    answer = hivebus.ok("receive", *ME, "--exec", f"cat; echo; echo {told}")
    message, facts = answer.out.splitlines()
    assert json.loads(message)["body"]["content"] == "Hello"
    assert facts.split() == ["m-1", "sender", "pm-agent", "question", "high", "1", "m-0", "sender", "pm-agent"]


def test_hivebus_in_the_command_is_the_same_agent_on_the_same_bus(hivebus: Any) -> None:
    hivebus.send("pm-agent", "Hello")
    hivebus.ok("receive", *ME, "--exec", 'hivebus send "$HIVEBUS_REPLY_TO" "thank you"')
    [message] = hivebus.ok("inbox", "-a", "sender", "--json").json["messages"]
    assert (message["from_agent"], message["body"]["content"]) == ("pm-agent", "thank you")


def test_no_part_of_a_message_is_read_by_the_shell(hivebus: Any, tmp_path: Path) -> None:
    options = ("--context", json.dumps({"x": NASTY}), "--metadata", json.dumps({NASTY: 1}))
    hivebus.send("pm-agent", NASTY, *options)
    hivebus.ok("receive", *ME, "--exec", 'cat > "$HIVEBUS_MESSAGE_ID.json"; env > facts')
    assert not (tmp_path / "pwned").exists()
    [saved] = tmp_path.glob("*-*.json")
    assert json.loads(saved.read_bytes())["body"]["content"] == NASTY
    assert "pwned" not in (tmp_path / "facts").read_text()


def test_saboteur_a_text_in_the_words_of_the_command_is_noticed(hivebus: Any, tmp_path: Path) -> None:
    # What the check above guards against: a command that is built from the text runs it.
    hivebus.send("pm-agent", NASTY)
    [line] = hivebus.ok("receive", *ME, "--jsonl").lines
    hivebus.send("pm-agent", "again")
    hivebus("receive", *ME, "--exec", f"echo {line['message']['body']['content']}")
    assert (tmp_path / "pwned").exists()


def test_a_large_message_to_a_command_that_does_not_read_it(hivebus: Any) -> None:
    hivebus.ok("send", "pm-agent", "-", "--agent", "sender", "--id", "m-1", stdin=b"x" * 200_000)
    hivebus.ok("receive", *ME, "--exec", "exit 0")
    assert state(hivebus, "m-1") == "acknowledged"


def test_a_failing_command_is_retried_as_the_message_asks(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--retry-delay", "1h")
    answer = hivebus("receive", *ME, "--exec", "exit 3")
    assert answer.code == 1
    assert "exited with 3" in answer.err
    event = hivebus.ok("trace", "m-1", "--json").json["events"][-1]
    assert event["event"] == "retrying"
    assert 2800 < event["due_seconds"] < 4400


def test_a_message_without_retries_left_becomes_a_dead_letter(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--max-retries", "1", "--retry-delay", "0")
    for _ in range(2):
        assert hivebus("receive", *ME, "--wait", "10s", "--exec", "exit 3").code == 1
    [letter] = hivebus.ok("dlq", "list", "--json").json["messages"]
    assert (letter["message_id"], letter["attempts"]) == ("m-1", 2)
    assert letter["reason"].startswith("max_retries")


def test_a_command_that_cannot_run_harms_no_message(hivebus: Any) -> None:
    for name in ("m-1", "m-2"):
        hivebus.send("pm-agent", "x", "--id", name, "--max-retries", "0")
    answer = hivebus("receive", *ME, "-n", "5", "--exec", "no-such-program-here")
    assert answer.code == 1
    assert "cannot be run" in answer.err
    messages = hivebus.ok("inbox", *ME, "--json").json["messages"]
    assert [message["message_id"] for message in messages] == ["m-1", "m-2"]


def test_n_messages_are_n_commands(hivebus: Any) -> None:
    for name in ("m-1", "m-2", "m-3"):
        hivebus.send("pm-agent", "x", "--id", name)
    answer = hivebus.ok("receive", *ME, "-n", "2", "--exec", "echo $HIVEBUS_MESSAGE_ID")
    assert answer.out.split() == ["m-1", "m-2"]


def test_a_filter_chooses_what_the_command_gets(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    hivebus.send("pm-agent", "x", "--id", "m-2", "--type", "question")
    answer = hivebus.ok("receive", *ME, "-n", "5", "--type", "question", "--exec", "echo $HIVEBUS_MESSAGE_ID")
    assert answer.out.split() == ["m-2"]


def test_a_long_command_keeps_its_message(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    with hivebus.start("receive", *ME, "--lease", "1s", "--exec", "sleep 3") as process:
        hivebus.eventually(lambda: state(hivebus, "m-1") == "delivered", what="the command runs")
        assert hivebus("receive", *ME, "--wait", "1500ms").code == 75
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert state(hivebus, "m-1") == "acknowledged"


def test_a_killed_process_gives_its_message_back_as_suspect(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    with hivebus.start("receive", *ME, "--lease", "1s", "--exec", "sleep 5") as process:
        hivebus.eventually(lambda: state(hivebus, "m-1") == "delivered", what="the command runs")
        process.kill()
        answer = hivebus.ok("receive", *ME, "--wait", "30s", "--exec", "echo $HIVEBUS_ATTEMPT")
        process.communicate(timeout=60)
    assert answer.out.split() == ["2"]


def test_the_first_signal_lets_the_command_finish(hivebus: Any, tmp_path: Path) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1")
    hivebus.send("pm-agent", "x", "--id", "m-2")
    command = "touch running; while [ ! -e go ]; do sleep 0.05; done"
    with hivebus.start("receive", *ME, "--follow", "--exec", command) as process:
        hivebus.eventually((tmp_path / "running").exists, what="the command runs")
        process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert state(hivebus, "m-1") == "acknowledged"
    assert state(hivebus, "m-2") == "queued"


def test_the_second_signal_ends_the_command_and_hands_the_message_back(hivebus: Any, tmp_path: Path) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--max-retries", "0")
    with hivebus.start("receive", *ME, "--follow", "--exec", "touch running; sleep 600") as process:
        hivebus.eventually((tmp_path / "running").exists, what="the command runs")
        process.send_signal(signal.SIGINT)
        hivebus.eventually(lambda: state(hivebus, "m-1") == "delivered", what="it still runs")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert state(hivebus, "m-1") == "queued"


def test_following_survives_a_server_that_comes_back(hivebus: Any, valkey_program: str, short_path: Path) -> None:
    socket = short_path / "s"
    words = ["--port", "0", "--unixsocket", str(socket), "--dir", str(short_path), "--appendonly", "yes"]
    hivebus.env["HIVEBUS_URL"] = f"unix://{socket}"

    def serve() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([valkey_program, *words], stdout=subprocess.DEVNULL)
        hivebus.eventually(lambda: hivebus("queues").code == 0, what="the server answers")
        return process

    server = serve()
    try:
        with hivebus.start("receive", *ME, "--follow", "--jsonl") as process:
            hivebus.send("pm-agent", "x", "--id", "before")
            assert "before" in process.stdout.readline()
            server.kill()
            server.wait(timeout=60)
            assert "trying again" in process.stderr.readline()
            server = serve()
            hivebus.send("pm-agent", "x", "--id", "after")
            assert "after" in process.stdout.readline()
            assert hivebus.end(process).code == 0
    finally:
        server.kill()
        server.wait(timeout=60)


def test_a_command_that_fails_with_a_message_without_ack_is_not_run_again(hivebus: Any) -> None:
    hivebus.send("pm-agent", "x", "--id", "m-1", "--no-ack", "--retry-delay", "0")
    answer = hivebus("receive", *ME, "--exec", "exit 3")
    assert answer.code == 1
    assert "m-1: the command exited with 3; it wanted no ack" in answer.err
    assert state(hivebus, "m-1") == "acknowledged"
