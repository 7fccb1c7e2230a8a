"""A TCP proxy in front of a server, which can lose a chosen request or the answer to it."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes on both ways, each connection in a thread of its own.

    Attributes:
        url: where to reach the server through the proxy.
        lost: how many answers were thrown away.
    """

    def __init__(self, server_socket: str) -> None:
        self._behind = server_socket
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.lost = 0
        self._pattern = b""
        self._to_lose = 0
        self._before = False
        self._silent = False
        self._hiding = False
        self._held_up = b""
        self._free = threading.Event()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose_answers_to(self, function: str, *, times: int = 1) -> None:
        """Let the next calls of a server-side function through, throw the answers away and hang up."""
        self._lose(function, times, before=False)

    def lose_calls_of(self, function: str, *, times: int = 1) -> None:
        """Hang up on the next calls of a server-side function, which the server never sees."""
        self._lose(function, times, before=True)

    def lose_answer_to_command(self, command: str) -> None:
        """Let the next call of a plain command through, throw the answer away and hang up."""
        with self._lock:
            self._pattern, self._to_lose, self._before = b"\r\n%b\r\n" % command.encode(), 1, False

    def hold_calls_of(self, function: str) -> None:
        """Keep the next call of a server-side function, and what follows on its connection, until `let_go`."""
        self._held_up = b"_%b\r\n" % function.encode()
        self._free.clear()

    def hold_no_more(self) -> None:
        """Let through what comes from now on; what is kept stays until `let_go`."""
        self._held_up = b""

    def let_go(self) -> None:
        """Let through what is kept."""
        self._held_up = b""
        self._free.set()

    def lead_to(self, server_socket: str) -> None:
        """Connect whoever comes from now on to another server."""
        self._behind = server_socket

    def swallow_everything(self) -> None:
        """Accept whoever comes, keep every connection open, and let nothing through any more."""
        self._silent = True

    def hide_hang_ups(self) -> None:
        """Let the server go on with connections whose client has gone, as a network that is cut off does."""
        self._hiding = True

    def close(self) -> None:
        """Hang up everywhere."""
        self.let_go()
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=5)
        # Not before: somebody looked through it.
        self._door.close()

    def _lose(self, function: str, times: int, *, before: bool) -> None:
        with self._lock:
            self._pattern = b"_%b\r\n" % function.encode()
            self._to_lose = times
            self._before = before

    def _accept(self) -> None:
        while not self._closed.is_set():
            readable, _, _ = select.select([self._door], [], [], 0.05)
            if readable:
                with suppress(OSError):
                    client, _ = self._door.accept()
                    thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._behind)
            doomed = False
            while not self._closed.is_set():
                readable, _, _ = select.select([client, server], [], [], 0.05)
                if client in readable:
                    data = client.recv(65536)
                    if not data:
                        self._hide_hang_up()
                        return
                    if self._silent:
                        continue
                    self._keep_for_a_while(data)
                    doomed = doomed or self._is_to_be_lost(data)
                    if doomed and self._before:
                        self.lost += 1
                        return
                    server.sendall(data)
                if server in readable:
                    data = server.recv(65536)
                    if doomed:
                        self.lost += 1
                        return
                    if not data:
                        return
                    if not self._silent:
                        client.sendall(data)

    def _hide_hang_up(self) -> None:
        if self._hiding:
            self._closed.wait()

    def _keep_for_a_while(self, data: bytes) -> None:
        if self._held_up and self._held_up in data:
            self._free.wait()

    def _is_to_be_lost(self, data: bytes) -> bool:
        with self._lock:
            if self._to_lose == 0 or self._pattern not in data:
                return False
            self._to_lose -= 1
            return True
