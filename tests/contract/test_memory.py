"""`memory://` keeps every promise that it declares."""

from hivebus.testing import Conformance
from hivebus.transport import Endpoint


class TestMemory(Conformance):
    def endpoint(self) -> Endpoint:
        return Endpoint(url="memory://")
