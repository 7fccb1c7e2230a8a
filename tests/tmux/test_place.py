"""The URL of a place: what may stand in it, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from hivebus.errors import ConfigError
from hivebus_tmux.place import Place, parse_place


def test_a_session_alone_means_the_server_of_plain_tmux() -> None:
    assert parse_place("tmux://agent-hive") == Place(session="agent-hive", server=(), driver="safe", settle=0.5)


def test_every_option_is_understood() -> None:
    place = parse_place("tmux://Agent%20Hive?socket=hive&driver=legacy&settle=80ms")
    assert place == Place(session="Agent Hive", server=("-L", "hive"), driver="legacy", settle=0.08)
    assert parse_place("tmux://hive?socket_path=/run/tmux/a%20b").server == ("-S", "/run/tmux/a b")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("tmux://", "names no tmux session"),
        ("tmux://hive/window", "names no tmux session"),
        ("tmux://hive?sokcet=a&color=red", "does not know: color, sokcet"),
        ("tmux://hive?socket=", "without a value"),
        ("tmux://hive?socket=a&socket=b", "gives an option twice"),
        ("tmux://hive?socket=a&socket_path=/b", "two sockets"),
        ("tmux://hive?socket=/tmp/a", "a name and no path"),
        ("tmux://hive?driver=fast", "must be safe or legacy"),
        ("tmux://hive?settle=soon", "must be a duration"),
        ("tmux://hive?settle=3s", "at most 2 seconds"),
        ("tmux://hive?settle=-1s", "must be a duration"),
    ],
)
def test_what_is_wrong_is_named(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_place(url)
