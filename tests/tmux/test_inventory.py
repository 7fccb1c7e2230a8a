"""Whose pane it is: exactly one, by its pin or by its name, or nobody's."""

from __future__ import annotations

import pytest

from hivebus_tmux.errors import NoWindow
from hivebus_tmux.inventory import Owner, Pane, find

from .ground import Ground, message, shows

AGENT = Owner("pm-agent", mirror=False)
MIRROR = Owner("pm-agent", mirror=True)


def pane(
    window: str, id_: str = "%1", *, agent: str = "", mirror: str = "", pinned: str = "", session: str = "s"
) -> Pane:
    return Pane(id_, "100", "/socket", agent, mirror, pinned, session, window)


@pytest.mark.parametrize("window", ["agent-pm-agent", "pm-agent", "agent-pm"])
def test_each_of_its_names_is_found(window: str) -> None:
    assert find([pane("agent-pm-agent-2"), pane(window, "%2"), pane("other", "%3")], AGENT, session="s").id == "%2"


def test_the_best_name_wins() -> None:
    panes = [pane("agent-pm", "%1"), pane("pm-agent", "%2"), pane("agent-pm-agent", "%3")]
    assert find(panes, AGENT, session="s").id == "%3"
    assert find(panes[:2], AGENT, session="s").id == "%2"


def test_a_pin_wins_over_a_name() -> None:
    panes = [pane("agent-pm-agent", "%1"), pane("renamed", "%2", agent="pm-agent", pinned="100")]
    assert find(panes, AGENT, session="s").id == "%2"


def test_a_pin_that_a_person_wrote_needs_no_process() -> None:
    assert find([pane("anything", agent="pm-agent")], AGENT, session="s").id == "%1"


def test_a_pin_for_another_process_is_none() -> None:
    assert find([pane("agent-pm-agent", agent="other", pinned="99")], AGENT, session="s").id == "%1"
    with pytest.raises(NoWindow, match="no window for pm-agent"):
        find([pane("renamed", agent="pm-agent", pinned="99")], AGENT, session="s")


def test_a_window_that_is_pinned_to_another_agent_is_not_taken() -> None:
    with pytest.raises(NoWindow, match="no window for pm-agent") as caught:
        find([pane("agent-pm-agent", agent="other", pinned="100")], AGENT, session="s")
    assert "agent-pm-agent (%1, of other)" in str(caught.value)


def test_a_mirror_is_never_an_agents_window_and_the_reverse() -> None:
    own, copies = pane("agent-pm-agent", "%1"), pane("mirror-pm-agent", "%2")
    assert find([own, copies], AGENT, session="s").id == "%1"
    assert find([own, copies], MIRROR, session="s").id == "%2"
    assert find([pane("x", "%3", mirror="pm-agent", pinned="100"), own], AGENT, session="s").id == "%1"
    with pytest.raises(NoWindow, match="no window for the mirror of pm-agent"):
        find([own, pane("renamed", agent="pm-agent", pinned="100")], MIRROR, session="s")


def test_several_that_could_be_it_are_listed() -> None:
    with pytest.raises(NoWindow, match="2 panes of session s could be pm-agent") as caught:
        find([pane("agent-pm-agent", "%1"), pane("agent-pm-agent", "%2")], AGENT, session="s")
    assert caught.value.reason == "ambiguous_window"
    assert "agent-pm-agent (%1), agent-pm-agent (%2)" in str(caught.value)


def test_another_session_is_another_place() -> None:
    with pytest.raises(NoWindow, match="the server has the sessions t") as caught:
        find([pane("agent-pm-agent", session="t")], AGENT, session="s")
    assert caught.value.reason == "no_window"


@pytest.mark.parametrize("name", ["@architects", "pm-agent~0f3a", "PM", ""])
def test_what_is_no_agent_has_no_window(name: str) -> None:
    panes = [pane(f"agent-{name}"), pane("x", "%2", agent=name)]
    with pytest.raises(NoWindow):
        find(panes, Owner(name, mirror=False), session="s")


def test_a_long_list_is_cut() -> None:
    with pytest.raises(NoWindow, match="and 8 more"):
        find([pane(f"w{number}", f"%{number}") for number in range(20)], AGENT, session="s")


# --- On a real server -----------------------------------------------------------------------------


async def test_a_renamed_window_keeps_its_agent_also_for_another_process(ground: Ground) -> None:
    window = ground.open_plain("agent-pm-agent")
    await ground.transport().publish([message("pm-agent", "first")])
    ground.tmux("rename-window", "-t", window.pane, "something else")
    transport = ground.transport()
    await transport.publish([message("pm-agent", "second")])
    ground.tmux("rename-window", "-t", window.pane, "and again")
    await transport.publish([message("pm-agent", "third")])
    await shows(window, "first", "second", "third")


async def test_a_pane_with_another_program_is_no_longer_the_agents(ground: Ground) -> None:
    window = ground.open_plain("agent-pm-agent")
    transport = ground.transport()
    await transport.publish([message("pm-agent", "first")])
    ground.tmux("rename-window", "-t", window.pane, "free now")
    ground.tmux("respawn-pane", "-k", "-t", window.pane, "exec sleep 1000")
    for each in (transport, ground.transport()):
        (result,) = await each.publish([message("pm-agent", "second")])
        assert isinstance(result, NoWindow) and result.reason == "no_window"


async def test_a_new_window_of_the_same_name_takes_over(ground: Ground) -> None:
    ground.open("keeps-the-session")
    window = ground.open("pm-agent")
    transport = ground.transport()
    await transport.publish([message("pm-agent", "first")])
    ground.tmux("kill-window", "-t", window.pane)
    again = ground.open_plain("agent-pm-agent")
    await transport.publish([message("pm-agent", "second")])
    await shows(again, "second")


async def test_a_server_that_was_started_anew_gives_its_panes_to_whom_they_belong(ground: Ground) -> None:
    transport = ground.transport()
    ground.open("pm-agent")
    await transport.publish([message("pm-agent", "first")])
    ground.tmux("kill-server")
    other, window = ground.open("other-agent"), ground.open("pm-agent")
    await transport.publish([message("pm-agent", "second")])
    assert other.bytes() == b""
    await shows(window, "second")


async def test_names_are_never_prefixes(ground: Ground) -> None:
    near = ground.open_plain("agent-pm-2")
    (result,) = await ground.transport().publish([message("pm", "for somebody else")])
    assert isinstance(result, NoWindow) and result.reason == "no_window"
    assert near.bytes() == b""


async def test_names_that_tmux_reads_as_something_else_are_names(ground: Ground) -> None:
    ground.open("first")
    windows = {name: ground.open_plain(f"agent-{name}") for name in ("0", "7")}
    await ground.transport().publish([message(name, f"for {name}") for name in windows])
    for name, window in windows.items():
        await shows(window, f"for {name}")


async def test_other_windows_may_be_called_anything(ground: Ground) -> None:
    window = ground.open_plain("agent-pm-agent")
    strange = ground.open_plain("other")
    ground.tmux("rename-window", "-t", strange.pane, "a␞b #{pane_pid} 🤖 é \\n")
    await ground.transport().publish([message("pm-agent", "hello")])
    await shows(window, "hello")


async def test_a_window_in_two_panes_needs_a_pin(ground: Ground) -> None:
    window = ground.open_plain("agent-pm-agent")
    ground.tmux("split-window", "-d", "-t", window.pane, "exec sleep 1000")
    transport = ground.transport()
    (result,) = await transport.publish([message("pm-agent", "which?")])
    assert isinstance(result, NoWindow) and result.reason == "ambiguous_window"
    ground.tmux("set-option", "-p", "-t", window.pane, "@hivebus_agent", "pm-agent")
    await transport.publish([message("pm-agent", "this one")])
    await shows(window, "this one")
