"""The faults that a drill can inject, by name; each is a small class in the file of what it befalls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hivebus.errors import ConfigError
from hivebus_redis.drill.faults.fault import Fault as Fault
from hivebus_redis.drill.faults.messages import MESSAGE_FAULTS
from hivebus_redis.drill.faults.network import NETWORK_FAULTS
from hivebus_redis.drill.faults.processes import PROCESS_FAULTS
from hivebus_redis.drill.faults.servers import SERVER_FAULTS
from hivebus_redis.drill.faults.storage import STORAGE_FAULTS

FAULTS: Mapping[str, Fault] = {
    fault.name: fault for fault in (*PROCESS_FAULTS, *SERVER_FAULTS, *STORAGE_FAULTS, *NETWORK_FAULTS, *MESSAGE_FAULTS)
}


def choose(names: Sequence[str]) -> list[Fault]:
    """Return the faults of these names, all of them without any; ``server`` stands for every ``server.*``."""
    chosen = {}
    for name in names or list(FAULTS):
        found = {key: fault for key, fault in FAULTS.items() if key == name or key.startswith(f"{name}.")}
        if not found:
            raise ConfigError(f"there is no fault {name!r}", hint=f"one of: {', '.join(FAULTS)}")
        chosen.update(found)
    return list(chosen.values())
