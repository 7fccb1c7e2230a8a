"""The items behind ``pytest --hivebus-transport=URL``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from hivebus.testing.checks import all_checks
from hivebus.testing.conformance import tell_pytest
from hivebus.testing.promises import Check
from hivebus.testing.runner import maker, run_check
from hivebus.transport import Endpoint


class ConformanceItem(pytest.Item):
    """One check against one URL."""

    def __init__(self, *, check: Check, endpoint: Endpoint, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check = check
        self._endpoint = endpoint

    def runtest(self) -> None:
        """Run the check and tell pytest its verdict."""
        tell_pytest(asyncio.run(run_check(self._check, maker(self._endpoint))))

    def reportinfo(self) -> tuple[str, None, str]:
        """Return how the item is named in reports."""
        return self._endpoint.url, None, self.name


def conformance_items(session: pytest.Session, url: str) -> Iterator[pytest.Item]:
    """Return an item for each check of the kit."""
    for check in all_checks():
        name = f"hivebus-transport[{check.name}]"
        yield ConformanceItem.from_parent(session, name=name, check=check, endpoint=Endpoint(url=url))
