"""The conformance kit: proves that a transport does what it declares.

In a test module of yours, with pytest::

    from hivebus.testing import Conformance
    from hivebus.transport import Endpoint

    class TestMyTransport(Conformance):
        def endpoint(self) -> Endpoint:
            return Endpoint(url="mine://localhost")

or ``pytest --hivebus-transport=mine://localhost``, or from anywhere else ``await check(endpoint)``.

What is here is imported at first use, because pytest loads this package at every start.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hivebus.testing.checks import all_checks
    from hivebus.testing.conformance import Conformance
    from hivebus.testing.harness import Broken, Harness, expect
    from hivebus.testing.promises import Check, promise
    from hivebus.testing.report import Outcome, Report, Verdict
    from hivebus.testing.runner import check, run_check

__all__ = [
    "Broken",
    "Check",
    "Conformance",
    "Harness",
    "Outcome",
    "Report",
    "Verdict",
    "all_checks",
    "check",
    "expect",
    "promise",
    "run_check",
]

_HOME = {
    "Broken": "harness",
    "Check": "promises",
    "Conformance": "conformance",
    "Harness": "harness",
    "Outcome": "report",
    "Report": "report",
    "Verdict": "report",
    "all_checks": "checks",
    "check": "runner",
    "expect": "harness",
    "promise": "promises",
    "run_check": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
