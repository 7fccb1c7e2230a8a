"""What a program in a window reads when the safe driver delivers: the text, whole, as text, and one Enter."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivebus.errors import HivebusError, InvalidMessage
from hivebus.transport import Outgoing, Published
from hivebus_tmux.frames import joined, safe_frame
from hivebus_tmux.stream import BEGIN, END
from hivebus_tmux.text import fingerprint, said
from hivebus_tmux.transport import MAX_PASTE, MAX_TEXT, MAX_TOGETHER, TmuxTransport

from .ground import Ground, Window, message, shows, until

HOSTILE = [
    "end of bracket \x1b[201~\rtouch pwned\r",
    "begin of bracket \x1b[200~ again",
    "/clear",
    "!touch pwned",
    "#comment",
    "@file",
    "-n hello",
    "--",
    "trailing ;",
    ";",
    "\\;",
    "Enter",
    "C-c",
    "0x41",
    "$(touch pwned) `touch pwned` && touch pwned; touch pwned",
    "\x03\x04\x1a\x1c",
    "every C0: " + "".join(map(chr, range(32))) + "\x7f",
    "every C1: " + "".join(map(chr, range(0x80, 0xA0))),
    "\x1b]0;title\x07\x1bkname\x1b\\\x1b[31mred\x1b[6n\x1bPpayload\x1b\\",
    "#{pane_pid} #(touch pwned) %7 %1 '\" ~ $HOME {x}",
    "🤖 family 👨‍👩‍👧‍👦 é e\u0301 \u202eright to left\u202c 한글 ﷽",
    "many\nlines\n\n\n" + "x\n" * 500,
    "\ttabs\tand \r\n windows \r lines",
    "",
    " ",
    "\n",
    string.printable * 20,
    "x" * 5000,
]


def expected(*items: Outgoing) -> bytes:
    """Return the bytes of one delivery: brackets, frames, and an Enter after them."""
    frames = [safe_frame(item.message_id, said(item.data), recipient=item.inbox.partition("~")[0]) for item in items]
    return BEGIN + joined(frames) + END + b"\r"


async def deliver(transport: TmuxTransport, window: Window, *items: Outgoing) -> list[bytes]:
    """Return what the window's program read of it, read by read."""
    before = len(window.reads())
    results = await transport.publish(items)
    assert results == [Published("stored")] * len(items)
    await until(lambda: b"".join(window.reads()[before:]).endswith(b"\r"), "Enter arrives")
    return window.reads()[before:]


@pytest.fixture
def window(ground: Ground) -> Window:
    return ground.open("frontend-agent")


@pytest.mark.parametrize("content", HOSTILE)
async def test_hostile_text_arrives_as_text(ground: Ground, window: Window, content: str) -> None:
    item = message("frontend-agent", content)
    reads = await deliver(ground.transport(), window, item)
    assert b"".join(reads) == expected(item)
    assert [read.fingerprint for read in window.messages()] == [fingerprint(content)]
    assert list(Path.cwd().glob("pwned")) == []
    assert ground.is_alive()


async def test_anything_arrives_as_text(ground: Ground, window: Window) -> None:
    transport = ground.transport(settle="5ms")
    bodies: list[object] = []

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.text()), st.none()))
    def collect(body: object) -> None:
        bodies.append(body)

    collect()
    for start in range(0, len(bodies), MAX_TOGETHER):
        items = [message("frontend-agent", body) for body in bodies[start : start + MAX_TOGETHER]]
        assert b"".join(await deliver(transport, window, *items)) == expected(*items)
    expecting = [transport.fingerprint(message("frontend-agent", body).data) for body in bodies]
    assert [read.fingerprint for read in window.messages()] == expecting
    assert len(bodies) >= 50


async def test_enter_comes_in_a_read_of_its_own(ground: Ground, window: Window) -> None:
    transport = ground.transport()
    for number in range(10):
        reads = await deliver(transport, window, message("frontend-agent", f"message {number}"))
        assert reads[-1] == b"\r"


async def test_a_burst_is_one_paste_and_one_enter(ground: Ground, window: Window) -> None:
    items = [message("frontend-agent", f"message {number}\nof a burst") for number in range(MAX_TOGETHER)]
    reads = await deliver(ground.transport(), window, *items)
    assert b"".join(reads) == expected(*items)
    assert window.ids() == [item.message_id for item in items]


async def test_more_than_fits_together_are_several_pastes_in_order(ground: Ground, window: Window) -> None:
    items = [message("frontend-agent", f"message {number}") for number in range(MAX_TOGETHER + 5)]
    large = [message("frontend-agent", character * (MAX_PASTE // 2)) for character in "abc"]
    results = await ground.transport().publish([*items, *large])
    assert results == [Published("stored")] * len(results)
    await until(lambda: window.bytes().count(END + b"\r") == 4, "four pastes arrive")
    assert window.ids() == [item.message_id for item in [*items, *large]]
    assert window.bytes().count(b"\r") == 4


async def test_100_kilobytes_and_the_largest_message_arrive_whole(ground: Ground, window: Window) -> None:
    transport = ground.transport()
    head = len(safe_frame("0" * 36, said(message("frontend-agent", "").data), recipient="frontend-agent").encode()) + 6
    for size in (100_000, MAX_TEXT - head):
        item = message_of_size(size)
        assert b"".join(await deliver(transport, window, item)) == expected(item)


async def test_what_is_larger_is_refused_with_its_size_and_the_rule(ground: Ground, window: Window) -> None:
    small = message("frontend-agent", "small")
    too_large, stored = await ground.transport().publish([message_of_size(MAX_TEXT), small])
    assert isinstance(too_large, InvalidMessage) and getattr(too_large, "reason", None) == "too_large"
    assert (too_large.field, too_large.rule.split(";")[0]) == (
        "body.content",
        f"a message in a window may have {MAX_TEXT} bytes",
    )
    assert stored == Published("stored")
    await until(lambda: window.ids() == [small.message_id], "the small one arrives")


async def test_a_program_that_stands_still_gets_it_later(ground: Ground, window: Window) -> None:
    busy = ground.open("busy-agent", command=["sleep", "1000"])
    results = await ground.transport().publish(
        [message("busy-agent", "x" * 50_000), message("frontend-agent", "hello")]
    )
    assert results == [Published("stored")] * 2
    assert busy.pane and ground.is_alive()
    await shows(window, "hello")


async def test_a_copy_goes_to_the_mirror_and_nowhere_else(ground: Ground, window: Window) -> None:
    copy = message("frontend-agent~shadow", "a copy")
    (result,) = await ground.transport().publish([copy])
    assert isinstance(result, HivebusError) and getattr(result, "reason", None) == "no_window"
    mirror = ground.open("frontend-agent", mirror=True)
    for driver in ("safe", "legacy"):
        await deliver(ground.transport(driver=driver), mirror, copy)
    assert mirror.bytes() == expected(copy) * 2
    assert window.bytes() == b""


async def test_no_buffer_is_left_and_no_foreign_one_is_touched(ground: Ground, window: Window) -> None:
    ground.tmux("set-buffer", "-b", "mine", "kept")
    transport = ground.transport()
    await deliver(transport, window, message("frontend-agent", "hello"))
    ground.tmux("copy-mode", "-t", window.pane)
    await transport.publish([message("frontend-agent", "refused")])
    ground.tmux("send-keys", "-t", window.pane, "-X", "cancel")
    ground.tmux("kill-window", "-t", ground.open("gone").pane)
    await transport.publish([message("gone", "nobody")])
    assert ground.buffers() == 'mine: 4 bytes: "kept"'


def message_of_size(size: int) -> Outgoing:
    """Return a message whose text has so many bytes, in lines, with a character of four bytes in each."""
    line = "🤖" + "x" * 95 + "\n"
    text = (line * (size // 100 + 1)).encode()[:size].decode(errors="ignore")
    return message("frontend-agent", text + "x" * (size - len(text.encode())))
