"""The index of plugins: read from a file, and made anew when the environment changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebus import plugin_index
from hivebus.plugin_index import Command, Found, Index
from hivebus.transport import Scheme

INDEX = Index(
    plugins=[Found("memory", "hivebus.memory.plugin", "1.0", None), Found("bad", "bad", "", "ImportError: no")],
    schemes=[Scheme(name="memory", transport="a:b", one_shot="c:d", summary="one")],
    commands=[Command("dance", "x:y", "Dance.")],
    alters_messages=True,
)


class Builder:
    """Builds the index, and counts how often it had to."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> Index:
        self.built += 1
        return INDEX


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hivebus"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path; the first entry is the program's own, which is not looked at."""
    made = tmp_path / "site"
    made.mkdir()
    monkeypatch.setattr(sys, "path", [sys.path[0], str(made), *sys.path[1:]])
    return made


def kept(cache: Path) -> Path:
    (file,) = cache.glob("*.json")
    return file


def test_it_is_built_once_and_then_read_from_its_file() -> None:
    build = Builder()
    assert plugin_index.read(rebuild=build) == plugin_index.read(rebuild=build) == INDEX
    assert build.built == 1


def test_it_is_built_again_when_a_folder_on_the_path_changed(folder: Path) -> None:
    build = Builder()
    plugin_index.read(rebuild=build)
    (folder / "package-1.0.dist-info").mkdir()
    # A clock that is too coarse to see it is no part of the test.
    os.utime(folder, ns=(1, 1))
    plugin_index.read(rebuild=build)
    assert build.built == 2
    plugin_index.read(rebuild=build)
    assert build.built == 2


def test_it_is_built_again_when_a_folder_on_the_path_is_gone(folder: Path) -> None:
    build = Builder()
    plugin_index.read(rebuild=build)
    folder.rmdir()
    plugin_index.read(rebuild=build)
    assert build.built == 2


def test_another_path_has_an_index_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    build = Builder()
    plugin_index.read(rebuild=build)
    monkeypatch.setattr(sys, "path", [sys.path[0], *sys.path[2:]])
    plugin_index.read(rebuild=build)
    assert (build.built, len(list(cache.glob("*.json")))) == (2, 2)


def test_an_index_that_never_notices_a_change_is_caught(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: without the fingerprint, what was installed since would not be found."""
    monkeypatch.setattr(plugin_index, "_fingerprint", list)
    with pytest.raises(AssertionError):
        test_it_is_built_again_when_a_folder_on_the_path_changed(folder)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"{}", b'{"fingerprint": []}'],
    ids=["empty", "cut", "no text", "a list", "null", "nothing in it", "no plugins"],
)
def test_a_corrupt_file_is_built_again_and_replaced(cache: Path, damage: bytes) -> None:
    build = Builder()
    plugin_index.read(rebuild=build)
    kept(cache).write_bytes(damage)
    assert plugin_index.read(rebuild=build) == INDEX
    assert plugin_index.read(rebuild=build) == INDEX
    assert build.built == 2


@pytest.mark.parametrize("part", ["plugins", "schemes", "commands"])
def test_a_file_of_another_form_is_built_again(cache: Path, part: str) -> None:
    build = Builder()
    plugin_index.read(rebuild=build)
    facts = json.loads(kept(cache).read_bytes())
    kept(cache).write_text(json.dumps({**facts, part: [{"surprise": 1}]}))
    assert plugin_index.read(rebuild=build) == INDEX
    assert build.built == 2


def test_where_nothing_can_be_written_it_is_built_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    build = Builder()
    assert plugin_index.read(rebuild=build) == plugin_index.read(rebuild=build) == INDEX
    assert build.built == 2


def test_without_a_folder_for_caches_it_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    plugin_index.read(rebuild=Builder())
    assert list((tmp_path / ".cache" / "hivebus").glob("plugins-*.json"))


def test_nobody_sees_half_an_index(cache: Path) -> None:
    plugin_index.read(rebuild=Builder())
    assert [path.suffix for path in cache.iterdir()] == [".json"]


def test_a_target_is_imported_when_it_is_a_path() -> None:
    assert plugin_index.load("hivebus.plugin_index:Index") is Index
    assert plugin_index.load(Builder) is Builder


def test_a_fresh_index_is_read_without_pluggy() -> None:
    program = "import sys; from hivebus import plugin_index; plugin_index.read(); print('pluggy' in sys.modules)"
    seen = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout
        for _ in range(2)
    ]
    assert seen == ["True\n", "False\n"]
