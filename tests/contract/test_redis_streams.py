"""`redis://` keeps every promise that it declares, on Redis and on Valkey."""

import pytest

from hivebus.testing import Conformance
from hivebus.transport import Endpoint


class TestRedisStreams(Conformance):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.url = redis_server.url

    def endpoint(self) -> Endpoint:
        return Endpoint(url=self.url)


class TestValkeyStreams(Conformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_server):
        self.url = valkey_server.url

    def endpoint(self) -> Endpoint:
        return Endpoint(url=self.url)
