"""Requirements: what a bus insists on, checked when it connects."""

from __future__ import annotations

import pytest

from hivebus.errors import ConfigError, Unsupported
from hivebus.requirements import check_requirements, is_met
from hivebus.transport import ABSENT, Capabilities, emulated, native

SERVER = Capabilities(
    evidence=native("taken"),
    durability=native("fsync"),
    fencing=native(),
    ttl=emulated(),
    priority=native(5),
    delay=ABSENT,
    attempts=native("approximate"),
)


@pytest.mark.parametrize(
    "requirement",
    [
        "fencing",
        "ttl",
        "evidence>=accepted",
        "evidence >= taken",
        "evidence==taken",
        "durability>=memory",
        "durability==fsync",
        "priority>=3",
        "priority==5",
        "attempts==approximate",
    ],
)
def test_what_is_there_is_enough(requirement: str) -> None:
    assert is_met(requirement, SERVER)
    check_requirements([requirement], SERVER, url="redis://")


@pytest.mark.parametrize(
    "requirement",
    [
        "delay",
        "delay>=1",
        "replay",
        "evidence>=acked",
        "evidence==accepted",
        "durability>=replicated",
        "priority>=6",
        "priority==4",
        "attempts>=exact",
        "order>=per_sender",
    ],
)
def test_what_is_missing_is_not_met(requirement: str) -> None:
    assert not is_met(requirement, SERVER)


def test_everything_that_is_missing_is_listed_with_what_there_is() -> None:
    with pytest.raises(Unsupported) as caught:
        check_requirements(["fencing", "delay", "evidence>=acked"], SERVER, url="redis://host")
    assert caught.value.what == "redis://host does not offer: delay, evidence>=acked"
    assert caught.value.cause == "delay is absent; evidence is taken"


@pytest.mark.parametrize("requirement", ["", "fence", "evidence>acked", "evidence>=", ">=acked", "Fencing", "items"])
def test_a_misspelt_requirement_is_an_error_that_lists_the_names(requirement: str) -> None:
    with pytest.raises(ConfigError, match="is not understood") as caught:
        check_requirements([requirement], SERVER, url="redis://")
    assert "fencing" in str(caught.value)


def test_a_value_that_is_none_of_the_words_is_an_error_that_lists_them() -> None:
    with pytest.raises(ConfigError, match="accepted, visible, taken, presented, acked"):
        is_met("evidence>=proven", SERVER)
    with pytest.raises(ConfigError, match="is no number"):
        is_met("priority>=five", SERVER)
