"""From a URL, or none, to a connected transport that can do what was asked for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hivebus import settings
from hivebus.capabilities import is_as_durable
from hivebus.errors import DurabilityUnavailable, Unavailable, Unsupported
from hivebus.notice import default_server
from hivebus.plugins import Plugins
from hivebus.quota import Quotas
from hivebus.requirements import check_requirements
from hivebus.transport import Capabilities, Publisher

TIMEOUT = 40.0
"""Seconds that connecting may take; an embedded server with much data to load needs some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connected transport and what belongs to it.

    Attributes:
        leg: the name of the road that messages take, for receipts.
        limit: the largest encoded message in bytes.
        max_hops: how many messages may lead to one.
        quota: how much an agent may send; None is as much as it likes.
    """

    transport: Publisher
    capabilities: Capabilities
    plugins: Plugins
    url: str
    leg: str
    limit: int
    max_hops: int
    quota: str | None


async def connect(
    url: str | None,
    *,
    namespace: str | None,
    durability: str | None,
    require: Sequence[str],
    plugins: Sequence[object],
) -> Opened:
    """Connect, or raise; never hangs.

    Raises:
        Unavailable: no server answers. ConfigError: the URL or a setting is wrong.
        Unsupported, DurabilityUnavailable: the server lacks what was asked for.
    """
    chosen = settings.load({"url": url, "namespace": namespace, "durability": durability})
    found = Plugins(plugins)
    # In a thread, since starting the embedded server blocks.
    transport = await asyncio.to_thread(found.transport, chosen.endpoint())
    try:
        async with asyncio.timeout(TIMEOUT):
            capabilities = await transport.connect()
        _check_durability(chosen.durability, capabilities, chosen.url)
        _check_quota(chosen.quota, transport, chosen.url)
        check_requirements(require, capabilities, url=settings.masked(chosen.url))
    except TimeoutError:
        await transport.close()
        raise Unavailable(f"{settings.masked(chosen.url)} did not answer within {TIMEOUT:g} s") from None
    except BaseException:
        await transport.close()
        raise
    if not chosen.has_url:
        sys.stderr.write(f"{default_server(chosen)}\n")
    return Opened(
        transport=transport,
        capabilities=capabilities,
        plugins=found,
        url=settings.masked(chosen.url),
        leg=settings.leg_of(chosen.url),
        limit=chosen.max_message,
        max_hops=chosen.max_hops,
        quota=chosen.quota,
    )


def _check_quota(quota: str | None, transport: Publisher, url: str) -> None:
    if quota is not None and not isinstance(transport, Quotas):
        raise Unsupported(
            f"{settings.masked(url)} cannot count what an agent sends, so there is no quota on it",
            cause=f"the setting quota is {quota}",
            hint="unset quota for this transport: hivebus config show",
        )


def _check_durability(wanted: str | None, capabilities: Capabilities, url: str) -> None:
    if wanted is None:
        return
    have = str(capabilities.durability.value) if capabilities.durability else "none"
    if not is_as_durable(have, wanted):
        raise DurabilityUnavailable(
            f"{settings.masked(url)} gives durability {have!r}, not {wanted!r}",
            cause="fsync needs appendonly yes and appendfsync always; replicated needs replicas",
            hint="configure the server, or ask for less",
        )
