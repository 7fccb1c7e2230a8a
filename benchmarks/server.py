"""A private Redis for one benchmark, emptied between rows."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis


@contextmanager
def private_server() -> Iterator[str]:
    """Yield the URL of a new server without persistence, so that the disk measures nothing."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise SystemExit("benchmarks need redis-server or valkey-server on PATH")
    with tempfile.TemporaryDirectory(prefix="hb-bench-") as folder:
        socket = Path(folder) / "s"
        process = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait_for(socket)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()


def empty(url: str) -> None:
    """Forget all data, functions excepted."""
    redis.Redis.from_url(url).flushall()


def _wait_for(socket: Path) -> None:
    for _ in range(500):
        if socket.exists():
            return
        time.sleep(0.01)
    raise SystemExit("the server did not start within 5 s")
