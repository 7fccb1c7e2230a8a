"""What the shared facts promise: versions, compare-and-set, and an end."""

from __future__ import annotations

import asyncio
from typing import cast

from hivebus.errors import Conflict
from hivebus.testing.harness import Harness, expect
from hivebus.testing.promises import promise
from hivebus.transport import ROUTES, Directory


@promise(Directory, proves="directory")
async def a_fact_is_read_as_it_was_written(h: Harness) -> None:
    """Any process reads what was written, by kind and name, with the version that the writer was told."""
    kind, value = h.inbox(), {"capabilities": ["python", "\N{HONEYBEE}"], "limits": {"load": 0.5, "none": None}}
    version = await h.directory.write(kind, "pm-agent", value)
    seen = await cast(Directory, await h.another()).read(kind)
    expect(list(seen) == ["pm-agent"], f"1 fact was written and {list(seen)} read")
    entry = seen["pm-agent"]
    expect(dict(entry.value) == value, f"{value} was written and {entry.value} read")
    expect(entry.version == version, f"the writer was told version {version} and the reader {entry.version}")
    expect(not await h.directory.read(h.inbox()), "a fact is found under another kind")


@promise(Directory, proves="directory")
async def a_deleted_fact_is_gone(h: Harness) -> None:
    """Writing None deletes a fact, and only that one; afterwards there is no version to expect."""
    kind = h.inbox()
    await h.directory.write(kind, "one", {"n": 1})
    await h.directory.write(kind, "two", {"n": 2})
    await h.directory.write(kind, "one", None)
    left = list(await h.directory.read(kind))
    expect(left == ["two"], f"1 of 2 facts was deleted and {left} are left")
    await h.directory.write(kind, "one", {"n": 3}, expect=0)


@promise(Directory, proves="directory")
async def a_write_with_an_old_version_is_refused(h: Harness) -> None:
    """Whoever decided on an older state is told so, and nothing is written."""
    kind = h.inbox()
    first = await h.directory.write(kind, "stage", {"stage": "off"}, expect=0)
    second = await h.directory.write(kind, "stage", {"stage": "shadow"}, expect=first)
    expect(second != first, f"two states of one fact have the version {first}")
    for old in (0, first):
        expect(await _conflicts(h, kind, expected=old), f"a write that expects version {old} of {second} was accepted")
    entry = (await h.directory.read(kind))["stage"]
    seen = (dict(entry.value), entry.version)
    expect(seen == ({"stage": "shadow"}, second), f"a refused write left {seen}")


@promise(Directory, proves="directory")
async def of_two_writers_one_wins(h: Harness) -> None:
    """Of several that write at once and expect the same version, one is accepted."""
    kind = h.inbox()
    version = await h.directory.write(kind, "stage", {"stage": "off"})
    refused = await asyncio.gather(*[_conflicts(h, kind, expected=version) for _ in range(5)])
    accepted = refused.count(False)
    expect(accepted == 1, f"5 wrote at once expecting one version, and {accepted} were accepted")


@promise(Directory, proves="directory")
async def a_fact_with_an_end_disappears(h: Harness) -> None:
    """A fact is gone when its time is over, and its neighbours stay."""
    kind = h.inbox()
    await h.directory.write(kind, "brief", {}, ttl=h.lease * 2)
    await h.directory.write(kind, "lasting", {}, ttl=3600)
    await h.directory.write(kind, "plain", {})
    seen = sorted(await h.directory.read(kind))
    expect(seen == ["brief", "lasting", "plain"], f"3 facts were written and {seen} read")

    async def gone() -> bool:
        return "brief" not in await h.directory.read(kind)

    await h.eventually(gone, "a fact outlived its time")
    left = sorted(await h.directory.read(kind))
    expect(left == ["lasting", "plain"], f"2 facts should be left and {left} are")


@promise(Directory, proves="directory")
async def a_change_of_routes_is_counted(h: Harness) -> None:
    """Where changes of routes are counted, writing the same again is none, and publishing tells the count."""
    before = await h.directory.changes()
    if before is None:
        return
    name = h.inbox()
    for facts in ({"subscriptions": ["agent.#"]}, {"subscriptions": ["agent.*.event"]}):
        await h.directory.write(ROUTES, name, facts)
    changed = await h.directory.changes() or 0
    expect(changed > before, f"a route was changed, and the count is {changed} after {before}")
    await h.directory.write(ROUTES, name, facts)
    await h.directory.write(h.inbox(), name, facts)
    again = await h.directory.changes()
    expect(again == changed, f"no route was changed, and the count is {again} after {changed}")
    (published,) = await h.publish(h.message(h.inbox()))
    expect(published.routes in (again, None), f"the count is {again}, and a publish was told {published.routes}")
    await h.directory.write(ROUTES, name, None)
    left = await h.directory.changes() or 0
    expect(left > changed, f"a route was deleted, and the count is {left} after {changed}")


async def _conflicts(h: Harness, kind: str, *, expected: int) -> bool:
    try:
        await h.directory.write(kind, "stage", {"stage": "live"}, expect=expected)
    except Conflict:
        return True
    return False
