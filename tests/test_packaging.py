"""What users get: the wheel, installed in an environment that has never seen this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("hivebus", "hivebus_migration", "hivebus_redis", "hivebus_tmux")
ENTRY_POINTS = """
from importlib import metadata
found = metadata.distribution("hivebus").entry_points
for each in found:
    each.load()
print(sorted(f"{each.group}:{each.name}" for each in found))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # The build system of pyproject.toml, without an environment of its own that would be downloaded.
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder), cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, and with the libraries of this one."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    program = folder / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(program),
        "install",
        "--no-index",
        "--no-deps",
        "--quiet",
        str(wheel),
    )
    site_packages = Path(run(str(program), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Named in a .pth file, that folder serves its packages, but not the .pth file that leads to this checkout.
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return program


def test_the_packages_are_importable_and_come_from_the_wheel(python: Path) -> None:
    said = run(
        str(python), "-I", "-c", "import hivebus, hivebus_redis; print(hivebus.__file__, hivebus_redis.__file__)"
    )

    for file in said.split():
        assert Path(file).is_relative_to(python.parents[1])


def test_the_folders_of_the_checkout_are_no_packages(python: Path) -> None:
    folders = ("plugins", "bridge", "migration")
    script = f"from importlib.util import find_spec; print([find_spec(each) for each in {folders}])"

    assert run(str(python), "-I", "-c", script).strip() == "[None, None, None]"


def test_saboteur_in_the_checkout_those_folders_look_like_packages() -> None:
    script = "from importlib.util import find_spec; print(find_spec('plugins') is not None)"

    assert run(sys.executable, "-c", script, cwd=ROOT).strip() == "True"


def test_every_entry_point_can_be_loaded(python: Path) -> None:
    found = run(str(python), "-I", "-c", ENTRY_POINTS)

    assert "hivebus:memory" in found
    assert "hivebus:redis" in found
    assert "console_scripts:hivebus" in found
    assert "pytest11:hivebus" in found


def test_the_command_runs_and_knows_its_plugins(python: Path, tmp_path: Path) -> None:
    said = run(str(python.parent / "hivebus"), "plugins", "list", "--json", XDG_CACHE_HOME=str(tmp_path))

    plugins = {each["name"]: each["error"] for each in json.loads(said)["plugins"]}
    assert plugins.get("memory", "missing") is None
    assert plugins.get("redis", "missing") is None


def test_the_wheel_has_the_types_and_the_functions_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    for source in (ROOT / "plugins/hivebus_redis").rglob("*.lua"):
        assert str(source.relative_to(ROOT / "plugins")) in names


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    """Run a command outside of this checkout and its coverage, and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTHON", "HIVEBUS"))}
    done = subprocess.run(
        command,
        cwd=cwd or Path(ROOT.root),
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
