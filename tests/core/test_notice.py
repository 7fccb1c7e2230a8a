"""The line that says which server is used when nobody chose one."""

from __future__ import annotations

import pytest

from hivebus import plugin_index
from hivebus.notice import default_server
from hivebus.settings import load


def test_it_names_the_namespace_and_where_the_server_keeps_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    line = default_server(load({"namespace": "two"}))
    assert line == "hivebus: no URL configured, using the embedded server of namespace two (/var/state/hivebus/two)"


def test_a_server_whose_plugin_does_not_say_where_it_is_is_named_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    index = plugin_index.read()
    monkeypatch.setattr(plugin_index, "read", lambda: index._replace(schemes=[]))
    assert default_server(load({"namespace": "two"})).endswith("of namespace two")
