"""`redis+pubsub://` keeps the little that it declares, on Redis and on Valkey; and so does the road of `memory://`."""

import pytest

from hivebus.memory.transport import MemoryTransport
from hivebus.testing import Conformance
from hivebus.transport import Endpoint, Publisher


class TestRedisPubSub(Conformance):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.url = redis_server.url.replace("unix:", "unix+pubsub:")

    def endpoint(self) -> Endpoint:
        return Endpoint(url=self.url)


class TestValkeyPubSub(Conformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_server):
        self.url = valkey_server.url.replace("unix:", "unix+pubsub:")

    def endpoint(self) -> Endpoint:
        return Endpoint(url=self.url)


class TestMemoryRadio(Conformance):
    async def transport(self) -> Publisher:
        return MemoryTransport(Endpoint(url="memory://")).listener()
