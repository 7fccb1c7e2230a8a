"""`import hivebus`: every public name, and nothing before it is used."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import hivebus


@pytest.mark.parametrize("name", hivebus.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hivebus, name).__name__ == name
    assert name in dir(hivebus)


def test_what_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hivebus' has no attribute 'nope'"):
        hivebus.nope  # noqa: B018


def test_importing_it_imports_nothing_else() -> None:
    program = "import sys; before = set(sys.modules); import hivebus; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    imported = done.stdout
    for heavy in ("pydantic", "asyncio", "redis", "pluggy", "click", "json", "hivebus."):
        assert f"'{heavy}" not in imported


def test_no_module_bears_the_name_of_a_public_one() -> None:
    """Importing a module puts it into its package, in the place of whatever had its name."""
    modules = {module.name for module in pkgutil.iter_modules(hivebus.__path__)}
    assert modules & set(hivebus.__all__) == set()
