"""Things that listen on a port and are no Redis."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def stranger(answer: bytes | None) -> Iterator[int]:
    """Give *answer* to whoever says anything and hang up, or with None keep silent; yields the port."""
    door = socket.create_server(("127.0.0.1", 0))
    guests: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                guest, _ = door.accept()
            except OSError:
                return
            guests.append(guest)
            if answer is not None:
                with suppress(OSError):
                    guest.recv(65536)
                    guest.sendall(answer)
                guest.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield door.getsockname()[1]
    # Closing alone does not end an accept that waits.
    door.shutdown(socket.SHUT_RDWR)
    door.close()
    thread.join(timeout=5)
    for guest in guests:
        guest.close()
