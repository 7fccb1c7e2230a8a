"""The quota of each sender, counted by the server for all of its processes; mixed into the transport."""

from __future__ import annotations

from hivebus.quota import Quota, Quotas, Spent
from hivebus_redis.connection import Server
from hivebus_redis.layout import Layout


class RedisQuotas(Quotas):
    """One key per sender, which is there only while its quota is not whole."""

    _server: Server
    _layout: Layout

    async def spend(self, sender: str, count: int, quota: Quota) -> Spent:
        """Take so many out of the quota, in one call."""
        words = (count, f"{1000 / quota.rate:.6f}", quota.burst)
        granted, wait = await self._server.call("spend", (self._layout.quota(sender),), words)
        return Spent(granted, wait / 1000)
