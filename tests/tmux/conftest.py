"""A tmux server per test: on a private socket, without anybody's configuration, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .ground import Ground


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache_home: Path) -> None:
    for name in os.environ:
        if name.startswith("HIVEBUS_") or name in ("TMUX", "TMUX_PANE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
async def ground(no_settings: None, tmp_path: Path) -> AsyncIterator[Ground]:
    with Ground(tmp_path) as ground:
        yield ground
        await ground.leave()
