"""A durable server without any set-up: the first process starts it, the others attach.

One server per user and namespace, on a unix socket, kept by no terminal and no parent. Every write
is on the disk before it is answered, so what was sent survives a `kill -9` of the server.

`find` starts nothing and imports next to nothing, for processes that live for one message.
"""

from __future__ import annotations

import os

from hivebus.transport import Endpoint
from hivebus_redis.embedded.instance import Instance, find

__all__ = ["Instance", "ensure", "find", "stop", "where"]


def where(endpoint: Endpoint) -> str:
    """Return the folder that tells one embedded server from another, whether it runs or not."""
    from hivebus_redis.embedded.places import Places

    folder, home = Places.of(endpoint.namespace).data_dir, os.path.expanduser("~")
    return folder.replace(home, "~", 1) if folder.startswith(f"{home}{os.sep}") else folder


def ensure(namespace: str) -> Instance:
    """Return the running server of *namespace*; start it, with its old messages, when there is none.

    Raises:
        Unavailable: no server program is installed, or it did not start; says why and what to do.
    """
    # Imported late: who only looks for a server should not pay for starting one.
    from hivebus_redis.embedded import lifecycle

    return lifecycle.ensure(namespace)


def stop(namespace: str) -> bool:
    """Shut the server down and wait until it is gone; its messages stay on disk. False when none ran.

    Raises:
        Unavailable: it did not stop; says why and what to do.
    """
    from hivebus_redis.embedded import lifecycle

    return lifecycle.stop(namespace)
