"""The kit as a pytest class: inherit, say where the transport is, done."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from hivebus.errors import ConfigError
from hivebus.plugins import Plugins
from hivebus.testing.checks import all_checks
from hivebus.testing.harness import fresh_name
from hivebus.testing.promises import Check
from hivebus.testing.report import Outcome
from hivebus.testing.runner import run_check
from hivebus.transport import Endpoint, Publisher


class Conformance:
    """One test per promise. Give it `endpoint` or `transport`; the rest may stay as it is.

    Attributes:
        lease: seconds of a lease that shall end within a check.
        patience: seconds after which what should happen counts as not happening.
    """

    lease = 0.4
    patience = 10.0

    def endpoint(self) -> Endpoint:
        """Return where to connect; the transport is the one that is installed for the URL."""
        raise ConfigError(f"{type(self).__name__} says neither endpoint() nor transport()", hint="define one of them")

    async def transport(self) -> Publisher:
        """Return a new transport, not yet connected; all that are made in one test share a server."""
        return Plugins().transport(self.endpoint())

    def inbox(self) -> str:
        """Return the name of an inbox that nobody uses; a terminal may have to make a window for it."""
        return fresh_name()

    @pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in all_checks()])
    def test_promise(self, check: Check) -> None:
        # A loop of its own, so that the kit needs no pytest plugin for asyncio.
        running = run_check(check, self.transport, lease=self.lease, patience=self.patience, name_inbox=self.inbox)
        tell_pytest(asyncio.run(running))


def tell_pytest(outcome: Outcome) -> None:
    """Turn a verdict into what pytest knows: a failure, a skip or a warning."""
    if outcome.verdict == "failed":
        pytest.fail(f"{outcome.name}: {outcome.detail}", pytrace=False)
    elif outcome.verdict == "skipped":
        pytest.skip(outcome.detail)
    elif outcome.verdict == "warned":
        warnings.warn(f"{outcome.name}: {outcome.detail}", UndeclaredCapability, stacklevel=2)


class UndeclaredCapability(UserWarning):
    """A transport does more than it declares, so that nobody can rely on it."""
