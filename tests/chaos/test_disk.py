"""The drill's own tools must harm only what they are meant to harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivebus_redis.drill.disk import TORN, Disk, tear

COMMAND = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n"


@pytest.mark.parametrize("partial", [b"", b"*2\r\n", b"*2\r\n$3\r\nGET\r\n$4\r\na\r", COMMAND[:-1]])
def test_a_torn_write_stands_behind_the_last_whole_command(tmp_path: Path, partial: bytes) -> None:
    file = tmp_path / "appendonly.aof.1.incr.aof"
    file.write_bytes(b"#TS:1\r\n" + COMMAND * 3 + partial)
    tear(tmp_path)
    assert file.read_bytes() == b"#TS:1\r\n" + COMMAND * 3 + TORN


def test_every_process_with_a_wrong_clock_has_a_page_of_its_own(tmp_path: Path) -> None:
    disk = Disk(tmp_path, tmp_path / "disk.so")
    pages = {disk.wrong_clock(seconds)["HIVEBUS_DISK_CONTROL"] for seconds in (60, 60, -60)}
    assert len(pages) == 3 and str(tmp_path / "control") not in pages
