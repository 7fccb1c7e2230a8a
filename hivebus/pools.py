"""Pools: inboxes that their members share. What the directory knows of them, and who may be meant by a wrong name.

An entry of kind ``pools`` is made by the first member and stays when the last one has left, as does the mail.
Who reads a pool at the moment is known by its inbox, as it is for every inbox.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from hivebus import limits
from hivebus.errors import Conflict, InvalidMessage, NotFound, Unsupported
from hivebus.transport import Capabilities, Directory, PoolPolicy, Publisher

KIND = "pools"
FIRST_POLICY: PoolPolicy = "round_robin"
POLICIES: tuple[PoolPolicy, ...] = get_args(PoolPolicy)
_RESERVED = "sys"
"""Its keys would stand among those of the directory."""
_TRIES = 20


def check_pool(value: object, *, field: str = "pools") -> str:
    """Return the name of a pool without its ``@``, which may be given; raises `InvalidMessage`."""
    name = limits.check_name(value[1:] if isinstance(value, str) and value[:1] == "@" else value, field=field)
    if name == _RESERVED:
        raise InvalidMessage(field=field, value=value, rule=f"must not be {_RESERVED}, which is hivebus's own")
    return name


def check_pools(values: object) -> tuple[str, ...]:
    """Return the names of pools, each once, or raise."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidMessage(field="pools", value=values, rule="must be a list of the names of pools")
    return tuple(dict.fromkeys(check_pool(each) for each in values))


def check_policy(value: object) -> PoolPolicy | None:
    """Return how a pool shall be shared, or raise; None leaves it as it is."""
    if value is None or value in POLICIES:
        return value
    raise InvalidMessage(field="pool_policy", value=value, rule=f"must be {' or '.join(POLICIES)}")


def inbox_of(pool: str) -> str:
    """Return the name of the inbox of a pool."""
    return f"@{pool}"


def require_pools(capabilities: Capabilities, transport: Publisher, *, url: str) -> Directory:
    """Return the directory of a transport whose inboxes can be shared, or raise `Unsupported`."""
    for capability in ("pools", "directory"):
        if not getattr(capabilities, capability):
            raise Unsupported(f"{url} lacks the capability {capability}", hint="hivebus transports describe")
    assert isinstance(transport, Directory)
    return transport


async def join(directory: Directory, pool: str, *, policy: PoolPolicy | None = None) -> PoolPolicy:
    """Make the pool if there is none, change its policy if one is given, and return the policy that holds."""
    for _ in range(_TRIES):
        entry = (await directory.read(KIND)).get(pool)
        kept: dict[str, Any] = dict(entry.value) if entry is not None else {}
        wanted: PoolPolicy = policy or kept.get("policy", FIRST_POLICY)
        if entry is not None and kept.get("policy") == wanted:
            return wanted
        try:
            await directory.write(
                KIND, pool, {**kept, "policy": wanted}, expect=entry.version if entry is not None else 0
            )
        except Conflict:
            continue  # another member was faster: what it wrote may do
        return wanted
    raise Conflict(f"the pool @{pool} changes all the time", hint="try again")


def not_there(pool: str, known: Collection[str]) -> NotFound:
    """Return the error for a pool that does not exist, with the names that may be meant."""
    close = get_close_matches(pool, sorted(known), n=3, cutoff=0.5)
    return NotFound(
        f"there is no pool @{pool}",
        cause=f"close to it: {', '.join(f'@{each}' for each in close)}" if close else "nobody has ever joined it",
        hint=f"hivebus receive --pool {pool} makes it, and so does Bus(pools=[{pool!r}])",
    )
