"""Each check of the kit is worth its name: a transport that breaks its one promise is caught by it."""

from __future__ import annotations

import pytest

from hivebus.testing import Check, all_checks, run_check
from hivebus.transport import Listener, Publisher

from .saboteurs import (
    concluding,
    directory,
    giving_up,
    inspecting,
    keeping,
    leases,
    listening,
    operating,
    pooling,
    publishing,
    receiving,
    settling,
)
from .saboteurs.honest import Honest
from .small_transports import Air, Radio

ROOMS = (
    publishing,
    receiving,
    settling,
    concluding,
    leases,
    pooling,
    inspecting,
    giving_up,
    operating,
    keeping,
    directory,
    listening,
)
SABOTEURS = {
    name: saboteur
    for room in ROOMS
    for saboteur in vars(room).values()
    if isinstance(saboteur, type)
    for name in vars(saboteur).get("sabotages", ())
}
RAISES_INSTEAD = ("closing_twice_is_harmless",)


def every_check() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in all_checks()])


@every_check()
async def test_a_transport_that_breaks_the_promise_is_caught(check: Check) -> None:
    air = Air()

    async def make() -> Publisher:
        kind = SABOTEURS[check.name]
        transport: Publisher = kind(air) if issubclass(kind, Radio) else kind()
        return transport

    outcome = await run_check(check, make, lease=0.2, patience=1.0)
    assert outcome.verdict == "failed"
    # It is the promise that broke, not the saboteur.
    assert "raised" not in outcome.detail or check.name in RAISES_INSTEAD


@every_check()
async def test_what_saboteurs_are_made_of_is_honest(check: Check) -> None:
    air = Air()

    async def make() -> Publisher:
        return Radio(air) if Listener in check.kinds else Honest()

    outcome = await run_check(check, make, lease=0.2)
    assert (outcome.verdict, outcome.detail) == ("passed", "")


def test_every_check_has_a_saboteur() -> None:
    assert sorted(SABOTEURS) == sorted(each.name for each in all_checks())
