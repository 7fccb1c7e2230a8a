"""The network of a drill: a TCP line to the server that can be slow, one-sided, broken or silent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

CHUNK = 65536


class NetworkLine:
    """Passes bytes on both ways, in a thread of its own.

    Attributes:
        url: where the server is reached through it.
        delay: seconds that everything takes longer; trickle: the most bytes at a time, one every millisecond.
        forward: whether what clients say arrives; backward: whether what the server says does. What does
            not arrive is gone, and its connection goes with it when the fault ends.
    """

    def __init__(self, server_socket: str) -> None:
        self._behind = server_socket
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._door.getsockname()[1]}"
        self.delay = 0.0
        self.trickle = 0
        self.forward = self.backward = True
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def heal(self) -> None:
        """Be an ordinary line again."""
        silent = not (self.forward and self.backward)
        self.delay, self.trickle = 0.0, 0
        self.forward = self.backward = True
        if silent:
            # Bytes are missing in them: no TCP connection goes on like that.
            self.reset()

    def cut(self) -> None:
        """End every connection in order."""
        self._each(lambda writer: writer.close())

    def reset(self) -> None:
        """Break every connection off."""
        self._each(lambda writer: writer.transport.abort())

    def close_half(self) -> None:
        """Say to every client that nothing more will come, and listen on."""

        def say_so() -> None:
            for client, _ in list(self._connections):
                with contextlib.suppress(OSError, RuntimeError):
                    client.write_eof()

        self._loop.call_soon_threadsafe(say_so)

    def close(self) -> None:
        """Hang up everywhere."""
        self.reset()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._door.close()

    def _each(self, act: Callable[[asyncio.StreamWriter], None]) -> None:
        def all_of_them() -> None:
            for pair in list(self._connections):
                for writer in pair:
                    with contextlib.suppress(OSError, RuntimeError):
                        act(writer)

        self._loop.call_soon_threadsafe(all_of_them)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        accepting = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._door))
        self._loop.run_forever()
        accepting.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with contextlib.suppress(RuntimeError):
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._behind)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, server_writer)
        self._connections.add(pair)
        try:
            await asyncio.gather(
                self._pass(reader, server_writer, lambda: self.forward),
                self._pass(server_reader, writer, lambda: self.backward),
            )
        except (OSError, RuntimeError):
            pass
        finally:
            self._connections.discard(pair)
            for each in pair:
                each.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Callable[[], bool]
    ) -> None:
        while data := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            step = self.trickle or len(data)
            for at in range(0, len(data), step):
                if passes():
                    writer.write(data[at : at + step])
                    await writer.drain()
                if self.trickle:
                    await asyncio.sleep(0.001)
        writer.close()
