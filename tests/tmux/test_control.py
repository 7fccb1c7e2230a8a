"""A client that stays attached: a message costs no process, and nothing else changes."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hivebus.transport import Published
from hivebus_tmux import control, conversation
from hivebus_tmux.control import ControlLine
from hivebus_tmux.errors import PaneRefused, PaneUnknown
from hivebus_tmux.runner import Answer, Tmux
from hivebus_tmux.text import fingerprint

from .ground import Ground, Window, message, until
from .test_delivery import HOSTILE, deliver, expected
from .test_faults import FAULTS, Fault

AGENT = "frontend-agent"
SPECIAL = "\"\\$~#;{}%'`!\n\t ü🤖\u202e-"


@pytest.fixture
def window(ground: Ground) -> Window:
    return ground.open(AGENT)


@pytest.fixture
async def line(ground: Ground, window: Window) -> AsyncIterator[ControlLine]:
    line = ControlLine(Tmux(ground.place().server), session=ground.session, worth=0)
    await line.run("list-sessions", within=3)
    await until(lambda: line.is_attached, "it attaches")
    yield line
    await line.close()


@pytest.mark.parametrize("text", [*HOSTILE, "x" * (control.LONGEST - 1), "y" * (control.LONGEST + 1)])
async def test_hostile_text_arrives_as_text(ground: Ground, window: Window, text: str) -> None:
    transport = await ground.attached(AGENT)
    await until(window.is_at_rest, "what was before it arrives")
    item = message(AGENT, text)
    assert b"".join(await deliver(transport, window, item)) == expected(item)
    assert window.messages()[-1].fingerprint == fingerprint(text)
    assert transport.is_attached
    assert ground.buffers() == ""
    assert list(Path.cwd().glob("pwned")) == []


async def test_what_is_quoted_is_the_text_itself(line: ControlLine, ground: Ground) -> None:
    rng = random.Random(7)
    for _ in range(200):
        text = "".join(rng.choices(SPECIAL, k=rng.randrange(1, 40)))
        assert await loaded(line, ground, text) == text
    assert line.is_attached


@pytest.mark.parametrize("special", '\\"$~')
async def test_saboteur_without_quoting_a_text_is_another_one(
    line: ControlLine, ground: Ground, special: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_quoted", lambda text: text)
    text = f"{special}HOME b"
    assert await loaded(line, ground, text) != text


async def test_a_message_costs_no_process(ground: Ground, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = await ground.attached(AGENT)
    await until(window.is_at_rest, "what was before it arrives")
    with monkeypatch.context() as nowhere:
        nowhere.setenv("PATH", str(ground.folder))
        await deliver(transport, window, message(AGENT, "without tmux on the path"))
        await transport.close()
        (result,) = await transport.publish([message(AGENT, "with a process of its own")])
    assert isinstance(result, PaneRefused) and result.reason == "no_tmux"


async def test_who_sends_one_message_does_not_attach(ground: Ground, window: Window) -> None:
    transport = ground.transport()
    await deliver(transport, window, message(AGENT, "only one"))
    await asyncio.sleep(0.1)
    assert not transport.is_attached
    assert ground.tmux("list-clients") == ""


async def test_it_has_no_say_in_the_size_and_leaves_nobody_behind(ground: Ground, window: Window) -> None:
    size = ("display-message", "-p", "-t", window.pane, "#{window_width}x#{window_height}")
    before = ground.tmux(*size)
    transport = await ground.attached(AGENT)
    assert "control-mode" in ground.tmux("list-clients", "-F", "#{client_flags}")
    assert ground.tmux(*size) == before
    await transport.close()
    await transport.close()
    assert ground.tmux("list-clients") == ""
    assert ground.tmux(*size) == before


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_a_fault_is_refused_with_its_reason(ground: Ground, window: Window, fault: Fault, reason: str) -> None:
    other = ground.open("other-agent")
    transport = await ground.attached(AGENT)
    await until(window.is_at_rest, "what was before it arrives")
    fault(ground, window)
    if reason == "no_server":
        await until(lambda: not transport.is_attached, "the client notices")
    before = window.bytes()
    (result,) = await transport.publish([message(AGENT, "touch pwned")])
    assert isinstance(result, PaneRefused) and result.reason == reason
    assert window.bytes() == before
    if reason != "no_server":
        assert ground.buffers() == ""
        await deliver(transport, other, message("other-agent", "unharmed"))


async def test_a_server_that_stands_still_is_unknown_and_the_client_is_given_up(ground: Ground, window: Window) -> None:
    transport = await ground.attached(AGENT)
    with ground.stopped():
        first, second = await transport.publish([message(AGENT, "x" * 40_000), message(AGENT, "y" * 40_000)])
        assert not transport.is_attached
    assert isinstance(first, PaneUnknown) and first.reason == "timeout"
    assert isinstance(second, PaneRefused) and second.reason == "timeout"
    transport = await ground.attached(AGENT)
    await deliver(transport, window, message(AGENT, "after"))
    assert ground.buffers() == ""


async def test_a_client_that_is_lost_in_the_middle_leaves_it_unknown(line: ControlLine, ground: Ground) -> None:
    with ground.stopped():
        asking = asyncio.create_task(line.run("display-message", "-p", "hello", within=3))
        await asyncio.sleep(0.05)
        os.kill(client_of(ground), signal.SIGKILL)
        # Its server is told by the kernel; the line is the server's too, so it ends with its time only.
        answer = await asking
    assert answer.code != 0 and not answer.never_reached


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"%exit\n", None),
        (b"%begin 1 7 1\nPASTED %0\n%end 1 7 1\n%exit\n", conversation.LOST),
        (b"%begin 1 7 0\n%end 1 7 0\n%exit\n", None),
        (b"%exit server exited unexpectedly\n", conversation.LOST),
        (b"", conversation.LOST),
    ],
    ids=["sent_away", "in_the_middle", "before_it", "server_killed", "client_killed"],
)
async def test_only_who_was_sent_away_before_it_began_certainly_did_nothing(said: bytes, answer: Answer | None) -> None:
    ours, theirs = socket.socketpair()
    talk = conversation.Conversation(ours)
    await asyncio.get_running_loop().create_connection(lambda: talk, sock=ours)
    with theirs:
        asking = asyncio.create_task(talk.ask("paste-buffer", within=3))
        await heard(theirs)
        theirs.sendall(said)
    assert await asking == answer


async def test_what_was_not_said_yet_when_the_client_left_was_certainly_not_done() -> None:
    ours, theirs = socket.socketpair()
    talk = conversation.Conversation(ours)
    await asyncio.get_running_loop().create_connection(lambda: talk, sock=ours)
    asking = asyncio.create_task(talk.ask("paste-buffer", within=3))
    await asyncio.sleep(0)
    theirs.close()
    assert await asking is None


async def test_what_is_asked_together_is_said_together() -> None:
    ours, theirs = socket.socketpair()
    talk = conversation.Conversation(ours)
    await asyncio.get_running_loop().create_connection(lambda: talk, sock=ours)
    with theirs:
        asking = [asyncio.create_task(talk.ask(f"display-message {number}", within=3)) for number in range(3)]
        said = await heard(theirs)
    assert re.findall(rb"^display-message (\d)$", said, re.MULTILINE) == [b"0", b"1", b"2"]
    assert await asyncio.gather(*asking) == [conversation.LOST] * 3


async def heard(line: socket.socket) -> bytes:
    """Return what is said on the line, in one piece."""
    line.setblocking(False)
    return await asyncio.get_running_loop().sock_recv(line, 4096)


async def test_a_person_may_send_the_client_away(ground: Ground, window: Window) -> None:
    transport = await ground.attached(AGENT)
    await until(window.is_at_rest, "what was before it arrives")
    ground.tmux("detach-client", "-s", ground.session)
    await deliver(transport, window, message(AGENT, "by a process"))
    await until(lambda: attached_by_now(ground), "it comes back")


async def test_a_server_that_is_there_again_is_attached_to_again(
    ground: Ground, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "AGAIN_AFTER", 0.1)
    transport = await ground.attached(AGENT)
    ground.tmux("kill-server")
    await until(lambda: not transport.is_attached, "the client notices")
    (result,) = await transport.publish([message(AGENT, "nobody is there")])
    assert isinstance(result, PaneRefused) and result.reason == "no_server"
    again = ground.open(AGENT)
    await ground.attach(transport, AGENT)
    await until(again.is_at_rest, "what was before it arrives")
    await deliver(transport, again, message(AGENT, "hello again"))


async def test_a_tmux_that_cannot_attach_like_that_is_asked_by_processes(
    ground: Ground, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = older_tmux(ground, monkeypatch)
    transport = ground.transport()
    for number in range(4):
        await deliver(transport, window, message(AGENT, f"message {number}"))
    assert not transport.is_attached
    # Once, and not again for a while.
    assert tries.read_text().count("attach") == 1


async def test_many_at_once_get_the_answers_to_their_own(line: ControlLine) -> None:
    answers = await asyncio.gather(
        *(line.run("display-message", "-p", f"answer {number}", within=10) for number in range(500)),
        *(line.run("select-pane", "-t", f"%{number + 1000}", within=10) for number in range(50)),
    )
    assert [answer.out for answer in answers[:500]] == [f"answer {number}" for number in range(500)]
    assert [answer.err for answer in answers[500:]] == [f"can't find pane: %{number + 1000}" for number in range(50)]


async def test_who_gives_up_waiting_takes_nobodys_answer(line: ControlLine) -> None:
    asking = [asyncio.create_task(line.run("display-message", "-p", f"{number}", within=10)) for number in range(20)]
    await asyncio.sleep(0)
    for each in asking[::2]:
        each.cancel()
    assert [(await each).out for each in asking[1::2]] == [f"{number}" for number in range(1, 20, 2)]


async def test_six_windows_at_once_each_get_their_own(ground: Ground) -> None:
    windows = {f"agent-{number}": ground.open(f"agent-{number}") for number in range(6)}
    transport = await ground.attached("agent-0", settle="5ms")
    await until(windows["agent-0"].is_at_rest, "what was before it arrives")
    begun = {name: len(window.messages()) for name, window in windows.items()}
    items = [message(name, f"{name} {number}") for number in range(10) for name in windows]
    assert await transport.publish(items) == [Published("stored")] * len(items)
    for name, window in windows.items():
        await until(lambda window=window, name=name: len(window.messages()) == begun[name] + 10, f"{name} has all")
        assert [read.text for read in window.messages()[begun[name] :]] == [f"{name} {n}" for n in range(10)]


async def loaded(line: ControlLine, ground: Ground, text: str) -> str:
    """Return what is in the buffer afterwards, as a process of its own gets it."""
    await line.load(text.encode(), buffer="probe", within=3)
    saved = await Tmux(ground.place().server).run("save-buffer", "-b", "probe", "-", within=3)
    return saved.out


def client_of(ground: Ground) -> int:
    found = subprocess.run(
        ["pgrep", "-f", f"tmux -u -L {ground.socket} -C attach"], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])


def attached_by_now(ground: Ground) -> bool:
    return "control-mode" in ground.tmux("list-clients", "-F", "#{client_flags}")


def older_tmux(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a tmux on the path that knows no flags for who attaches, and return the file in which it notes attempts."""
    tries = ground.folder / "tries"
    tmux = ground.folder / "bin" / "tmux"
    tmux.parent.mkdir()
    tmux.write_text(
        f'#!/bin/sh\ncase "$*" in *" -C "*) echo attach >> {tries}; exit 1;; esac\nexec {shutil.which("tmux")} "$@"\n'
    )
    tmux.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmux.parent}:{os.environ['PATH']}")
    return tries
