"""The machine of somebody who reads a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .machines import Machine, machine


@pytest.fixture
def computer(redis_server: Any) -> Iterator[Machine]:
    """A machine whose ``redis://localhost:6379`` is a server on which nobody was before."""
    with redis_server.client() as client:
        client.flushall()
    with machine({"redis://localhost:6379": redis_server.url}) as made:
        yield made
