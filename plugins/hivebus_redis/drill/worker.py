"""A process of a drill: ``python -m hivebus_redis.drill.worker consume|produce '{"plan": {...}, ...}'``."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from hivebus_redis.drill.consuming import consume, restless
from hivebus_redis.drill.plan import Plan
from hivebus_redis.drill.producing import produce

ROLES: Mapping[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "consume": consume,
    "restless": restless,
    "produce": produce,
}


def main() -> None:
    """Run the role that the command line names."""
    # Whoever measures coverage has a handler of its own for this signal, and hivebus leaves a foreign one alone.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What goes wrong is what a drill is for.
    logging.basicConfig(level=logging.CRITICAL)
    words = json.loads(sys.argv[2])
    asyncio.run(ROLES[sys.argv[1]](Plan(**words.pop("plan")), **words))


if __name__ == "__main__":
    main()
