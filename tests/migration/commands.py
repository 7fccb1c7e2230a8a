"""The real `hivebus` as processes, with the files of `files_leg` installed as a plugin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from . import files_leg

PROGRAM = Path(sys.executable).with_name("hivebus")
PATIENCE = 60


def install(site: Path) -> None:
    """Make a folder for PYTHONPATH, in which the plugin is installed as any other."""
    source = files_leg.__file__
    assert source
    info = site / "hivebus_files-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "hivebus_files.py").write_bytes(Path(source).read_bytes())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hivebus-files\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[hivebus]\nfiles = hivebus_files\n")


class Program:
    """A process that goes on, and what it says on stderr while it does."""

    def __init__(self, words: list[str], *, env: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            text=True,
        )
        self.said: list[str] = []
        self.printed: list[str] = []
        self._listeners = [
            threading.Thread(target=_listen, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stderr, self.said), (self.process.stdout, self.printed))
        ]
        for listener in self._listeners:
            listener.start()

    def until_said(self, text: str) -> None:
        """Return when it has said so on stderr."""
        eventually(lambda: any(text in line for line in self.said) or self.process.poll() is not None, what=text)
        assert any(text in line for line in self.said), f"it ended without saying {text!r}: {self.said}"

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return what it exits with."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Return what it exits with; one that hangs fails, and shows where."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.send_signal(signal.SIGCONT)
            self._await_end()
            raise AssertionError(f"{self.process.args} hangs:\n{''.join(self.printed + self.said)}") from None
        self._await_end()
        return code

    def _await_end(self) -> None:
        self.process.wait(PATIENCE)
        for listener in self._listeners:
            listener.join(PATIENCE)
            assert not listener.is_alive(), f"{self.process.args} has ended, and somebody still holds its output"

    def kill(self) -> None:
        """End it, however far it is."""
        self.process.kill()
        self.wait()


class Hivebus:
    """Runs `hivebus` and Python programs in one environment.

    Attributes:
        folder: what the legacy leg writes is here.
        ledger: the file that knows it all.
    """

    def __init__(self, home: Path, *, url: str, namespace: str, site: Path, cache: Path, gate: str = "") -> None:
        self.home = home
        self.folder = home / "files"
        self.folder.mkdir()
        self.ledger = home / "ledger.db"
        kept = ("PATH", "LANG", "COVERAGE_PROCESS_CONFIG")
        self.env = {name: os.environ[name] for name in kept if name in os.environ} | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(cache),
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(site),
            "HIVEBUS_URL": url,
            "HIVEBUS_NAMESPACE": namespace,
            "HIVEBUS_LEGACY_URL": f"files://{self.folder}" + (f"?gate={gate}" if gate else ""),
            "HIVEBUS_LEDGER": str(self.ledger),
        }

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; one that hangs fails, and shows where."""
        with subprocess.Popen(
            [PROGRAM, *words],
            env=self.env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                state = Path(f"/proc/{process.pid}/status").read_text().splitlines()[2]
                process.send_signal(signal.SIGABRT)
                process.send_signal(signal.SIGCONT)
                out, err = process.communicate()
                raise AssertionError(f"hivebus {words} hangs; {state}:\n{out}\n{err}") from None
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ok(self, *words: str) -> str:
        """Run one command that must succeed, and return what it prints."""
        done = self(*words)
        assert done.returncode == 0, f"hivebus {words} exited with {done.returncode}: {done.stderr}"
        return done.stdout

    def start(self, *words: str) -> Program:
        """Start a command that goes on."""
        return Program([str(PROGRAM), *words], env=self.env, cwd=self.home)

    def python(self, source: str, *words: str) -> Program:
        """Start a Python program."""
        return Program([sys.executable, "-c", source, *words], env=self.env, cwd=self.home)


def _listen(stream: TextIO, lines: list[str]) -> None:
    # Closed by the one who reads it, so that none stays open, whether or not anybody waits for the end.
    with stream:
        # One by one: `extend` would show them only when the stream has ended.
        for line in stream:
            lines.append(line)  # noqa: PERF402


def eventually(condition: Callable[[], object], *, what: str) -> None:
    """Return when *condition* holds; fail when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)
