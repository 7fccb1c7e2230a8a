"""Two roads without the settings, the cache and the ledger of whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from .commands import Hivebus, install


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of the plugin index for all tests, as a user has one for all commands."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_home: Path) -> None:
    """Nothing is configured but by the test."""
    for name in [each for each in os.environ if each.startswith("HIVEBUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))


@pytest.fixture(scope="session")
def plugin_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a legacy transport that writes files is installed, for processes."""
    site = tmp_path_factory.mktemp("site")
    install(site)
    return site


@pytest.fixture
def hivebus(tmp_path: Path, redis_server: Any, plugin_site: Path, cache_home: Path) -> Hivebus:
    """`hivebus` as processes on two roads: the private Redis of the session, and files."""
    (home := tmp_path / "home").mkdir()
    return Hivebus(home, url=redis_server.url, namespace=f"t{uuid4().hex[:12]}", site=plugin_site, cache=cache_home)


@pytest.fixture
def one_road(monkeypatch: pytest.MonkeyPatch, redis_server: Any) -> dict[str, str]:
    """A bus of its own on the private Redis of the session, for this process and for others."""
    chosen = {"HIVEBUS_URL": redis_server.url, "HIVEBUS_NAMESPACE": f"t{uuid4().hex[:12]}"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    return chosen
