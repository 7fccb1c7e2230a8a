"""A user's machine for one page: terminals, a home folder, and nothing of whoever runs the tests."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sysconfig
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 60
WIDTH = 120
# Commands come on a pipe, so that the terminal is free for those that look at it.
SHELL = r"""
status=0
while IFS= read -r -d '' command <&"$COMMANDS"; do
    eval "(exit $status)
$command"
    status=$?
    printf '\036%s\036' "$status"
done
jobs -p | xargs -r kill -9
"""


class Terminal:
    """A shell on a terminal."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._shown, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        reading, self._commands = os.pipe()
        os.set_inheritable(reading, True)
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-m", "-c", SHELL],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=[reading],
            env={**env, "COMMANDS": str(reading)},
            cwd=folder,
            start_new_session=True,
        )
        os.close(slave)
        os.close(reading)

    def run(self, command: str) -> tuple[str, int]:
        """Run one command; return what the terminal showed and its exit code."""
        os.write(self._commands, command.encode() + b"\0")
        shown, deadline = b"", time.monotonic() + PATIENCE
        while not (end := re.search(rb"\x1e(\d+)\x1e$", shown)):
            ready, _, _ = select.select([self._shown], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{command!r} did not end within {PATIENCE} s; it showed {shown.decode()}"
            shown += os.read(self._shown, 65536)
        return shown[: end.start()].decode().replace("\r\n", "\n"), int(end[1])

    def close(self) -> None:
        """End the shell and what it left running."""
        os.close(self._commands)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._shown)


class Machine:
    """A user's machine with nothing on it but a clone of hivebus in the home folder."""

    def __init__(self, folder: Path, servers: Mapping[str, str]) -> None:
        libraries = sysconfig.get_path("purelib")
        self.home = folder / "home"
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self.home.mkdir()
        (self.home / "hivebus").symlink_to(ROOT)
        self.env = {
            **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(runtime),
            "NO_COLOR": "1",
            # What pip would download is here already.
            "PYTHONPATH": libraries,
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            # The libraries have a pytest plugin that hivebus needs for its own tests, and users do not have.
            "PYTEST_ADDOPTS": "-p no:asyncio",
        }
        # On the page stands what a user would see.
        self._real = {"/home/you": str(self.home), "/run/user/1000": str(runtime), **servers}
        self._shown = {**self._real, "/home/you/.venv/lib/python3.11/site-packages": libraries}
        self._terminals: dict[str, Terminal] = {}

    def install(self) -> None:
        """Do what the tutorial begins with."""
        for command in ("python3 -m venv .venv", '.venv/bin/pip install --quiet "$HOME/hivebus"'):
            shown, code = self.run("", command)
            assert code == 0, shown

    def run(self, terminal: str, command: str) -> tuple[str, int]:
        """Run a command of the page; return what it showed, as a user would see it, and its exit code."""
        if terminal not in self._terminals:
            self._terminals[terminal] = Terminal(self.env, self.home)
        for on_page, real in self._real.items():
            command = command.replace(on_page, real)
        shown, code = self._terminals[terminal].run(command)
        for on_page, real in self._shown.items():
            shown = shown.replace(real, on_page)
        return shown, code

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        (self.home / name).parent.mkdir(exist_ok=True)
        (self.home / name).write_text(text)

    def close(self) -> None:
        """Stop everything that was started, the embedded server too."""
        for terminal in self._terminals.values():
            terminal.close()
        for pidfile in self.home.glob(".local/state/hivebus/*/server.pid"):
            os.kill(int(pidfile.read_text()), signal.SIGTERM)


@contextmanager
def machine(servers: Mapping[str, str]) -> Iterator[Machine]:
    """Make a machine in a short folder; *servers* are real URLs by those on the page."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    made = Machine(folder, servers)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
