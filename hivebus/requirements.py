"""What a bus may insist on: ``Bus(require=("fencing", "evidence>=acked"))`` fails at connect, not at run time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hivebus.capabilities import is_as_durable
from hivebus.errors import ConfigError, Unsupported
from hivebus.transport import LADDERS, Capabilities, Feature

_requirement = re.compile(r"\s*([a-z_]+)\s*(?:(>=|==)\s*([a-z0-9_.+]+))?\s*").fullmatch


def check_requirements(require: Sequence[str], capabilities: Capabilities, *, url: str) -> None:
    """Raise `Unsupported` listing every requirement that the connected server does not meet."""
    missing = [each for each in require if not is_met(each, capabilities)]
    if missing:
        raise Unsupported(
            f"{url} does not offer: {', '.join(missing)}",
            cause="; ".join(_have(each, capabilities) for each in missing),
            hint="hivebus transports describe shows what it offers",
        )


def is_met(requirement: str, capabilities: Capabilities) -> bool:
    """Tell whether one requirement holds: ``name``, ``name>=value`` or ``name==value``."""
    name, operator, value = _parse(requirement)
    feature: Feature = getattr(capabilities, name)
    if operator is None:
        return bool(feature)
    if not feature:
        return False
    have, want = _rank(name, str(feature.value), requirement), _rank(name, value, requirement)
    if name == "durability" and operator == ">=":
        return is_as_durable(str(feature.value), value)
    return have == want if operator == "==" else have >= want


def _parse(requirement: str) -> tuple[str, str | None, str]:
    match = _requirement(requirement)
    names = [name for name, _ in Capabilities().items()]
    if match is None or match[1] not in names:
        raise ConfigError(
            f"require={requirement!r} is not understood",
            hint=f"name, name>=value or name==value, with a name out of {', '.join(names)}",
        )
    return match[1], match[2], match[3] or ""


def _rank(name: str, value: str, requirement: str) -> float:
    ladder = LADDERS.get(name)
    if ladder is None:
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"require={requirement!r}: {value!r} is no number") from None
    if value not in ladder:
        raise ConfigError(f"require={requirement!r}: {value!r} is none of {', '.join(ladder)}")
    return ladder.index(value)


def _have(requirement: str, capabilities: Capabilities) -> str:
    name = _parse(requirement)[0]
    feature: Feature = getattr(capabilities, name)
    return f"{name} is {feature.value}" if feature else f"{name} is absent"
