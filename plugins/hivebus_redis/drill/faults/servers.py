"""What befalls the server: killed, stopped, paused, busy, full, read-only, emptied of its functions."""

from __future__ import annotations

from random import Random

import redis

from hivebus_redis.drill.exercise import SERVER, Exercise
from hivebus_redis.drill.faults.fault import Fault


def command(client: redis.Redis, *words: str | int) -> None:
    """Say a command for which redis-py has no typed method."""
    client.execute_command(*words)  # type: ignore[no-untyped-call]


class ServerFault(Fault):
    """Something befalls the server."""

    def target(self, exercise: Exercise, random: Random) -> str | None:
        """Return the server, while it runs."""
        return SERVER if exercise.server.is_up else None


class KillServer(ServerFault):
    """kill -9 and a restart on the same data."""

    name, row = "server.kill", 3

    def begin(self, exercise: Exercise, target: str) -> None:
        """Kill it, and start it."""
        exercise.server.kill()
        exercise.server.start()


class StopServer(ServerFault):
    """Stopped in order, and away for a moment."""

    name, row = "server.stop", 3
    seconds = 0.3

    def begin(self, exercise: Exercise, target: str) -> None:
        """Stop it."""
        exercise.server.stop()

    def end(self, exercise: Exercise, target: str) -> None:
        """Start it."""
        exercise.server.start()


class PauseServer(ServerFault):
    """It answers nobody for a while."""

    name, row = "server.pause", 7
    seconds = 1.3

    def begin(self, exercise: Exercise, target: str) -> None:
        """Stop it."""
        exercise.server.pause()

    def end(self, exercise: Exercise, target: str) -> None:
        """Let it go on."""
        exercise.server.resume()


class CommandFault(ServerFault):
    """Something that an operator can do to a server by commands."""

    def begin(self, exercise: Exercise, target: str) -> None:
        """Do it."""
        with exercise.server.client() as client:
            self.act(client)

    def end(self, exercise: Exercise, target: str) -> None:
        """Take it back."""
        with exercise.server.client() as client:
            self.undo(client)

    def act(self, client: redis.Redis) -> None:
        """Say the commands."""
        raise AssertionError("a subclass says them")

    def undo(self, client: redis.Redis) -> None:
        """Say those that take it back; nothing where it passes by itself."""


class OutOfMemory(CommandFault):
    """Senders are refused, consumers drain."""

    name, row = "server.oom", 28
    seconds = 0.4

    def act(self, client: redis.Redis) -> None:
        """Leave it no memory."""
        client.config_set("maxmemory", 1)

    def undo(self, client: redis.Redis) -> None:
        """Give it back."""
        client.config_set("maxmemory", 0)


class FlushFunctions(CommandFault):
    """Its functions are gone, several times within a moment."""

    name, row = "server.flush_functions", 34

    def act(self, client: redis.Redis) -> None:
        """Forget them."""
        for _ in range(5):
            client.function_flush()


class KillClients(CommandFault):
    """Every connection is closed by the server."""

    name, row = "server.kill_clients", 12

    def act(self, client: redis.Redis) -> None:
        """Close them."""
        command(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


class HoldClients(CommandFault):
    """No write is answered for a moment."""

    name, row = "server.hold_writes", 7
    seconds = 0.5

    def act(self, client: redis.Redis) -> None:
        """Hold them back."""
        command(client, "CLIENT", "PAUSE", 500, "WRITE")


class TooManyClients(ServerFault):
    """Nobody gets a new connection, and the old ones are closed."""

    name, row = "server.too_many_clients", 0
    seconds = 0.4

    def begin(self, exercise: Exercise, target: str) -> None:
        """Take the only place there is."""
        exercise.connection = exercise.server.client()
        exercise.connection.config_set("maxclients", 1)
        command(exercise.connection, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def end(self, exercise: Exercise, target: str) -> None:
        """Let everybody in."""
        assert exercise.connection is not None
        with exercise.connection as client:
            client.config_set("maxclients", 10_000)
        exercise.connection = None


class ReadOnly(CommandFault):
    """It became a replica, of nobody who answers."""

    name, row = "server.read_only", 0
    seconds = 0.4

    def act(self, client: redis.Redis) -> None:
        """Demote it."""
        client.replicaof("127.0.0.1", 1)

    def undo(self, client: redis.Redis) -> None:
        """Promote it."""
        client.replicaof("NO", "ONE")


class Forbid(CommandFault):
    """Its operator takes the right away to call functions."""

    name, row = "server.forbid", 33
    seconds = 0.3

    def act(self, client: redis.Redis) -> None:
        """Take it."""
        client.acl_setuser("default", enabled=True, commands=["-fcall"])

    def undo(self, client: redis.Redis) -> None:
        """Give it back."""
        client.acl_setuser("default", enabled=True, commands=["+fcall"])


class Rewrite(CommandFault):
    """It writes its file anew, and goes on in another one."""

    name, row = "server.rewrite", 4

    def act(self, client: redis.Redis) -> None:
        """Begin to."""
        try:
            client.bgrewriteaof()
        except redis.ResponseError:
            return  # it does so already


class Busy(CommandFault):
    """Its cache of scripts is emptied, and a script keeps it busy."""

    name, row = "server.busy", 34

    def act(self, client: redis.Redis) -> None:
        """Keep it busy."""
        client.script_flush()
        client.eval("local n = 0 while n < 4e6 do n = n + 1 end return n", 0)


SERVER_FAULTS: tuple[Fault, ...] = (
    KillServer(), StopServer(), PauseServer(), OutOfMemory(), FlushFunctions(), KillClients(), HoldClients(),
    TooManyClients(), ReadOnly(), Forbid(), Rewrite(), Busy(),
)  # fmt: skip
