"""Adds ``pytest --hivebus-transport=URL``; without the option it does nothing and imports nothing."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("hivebus").addoption(
        "--hivebus-transport",
        metavar="URL",
        default=None,
        help="run the hivebus conformance kit against the transport installed for URL, besides what is collected",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one item per check; first, so that ``-k`` selects among them too."""
    url = config.getoption("--hivebus-transport")
    if url:
        from hivebus.testing.pytest_items import conformance_items

        items.extend(conformance_items(session, url))
