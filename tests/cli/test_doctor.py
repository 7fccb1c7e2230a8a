"""`hivebus doctor`: every deviation with its reason and the next step, and the operator's word for agents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from hivebus.bus import Bus
from hivebus.transport import Endpoint
from hivebus_redis.attestation import Attestation
from hivebus_redis.evidence import Evidence, gather_evidence
from hivebus_redis.examination import findings
from hivebus_redis.streams import open_streams

from ..streams.own_server import DURABLE, OwnServer, free_port
from .conftest import Cli

SOUND = (*DURABLE, "--maxmemory", "100mb")
Start = Callable[..., OwnServer]


@pytest.fixture
def start(redis_program: str, valkey_program: str) -> Iterator[Start]:
    """Start servers that are gone after the test."""
    started: list[OwnServer] = []

    def run(*settings: str, kind: str = "redis") -> OwnServer:
        started.append(OwnServer(redis_program if kind == "redis" else valkey_program, *settings))
        started[-1].start()
        return started[-1]

    yield run
    for server in started:
        server.remove()


def checks(cli: Cli, server: OwnServer, *options: str, code: int = 0, **env: str) -> dict[str, dict[str, str]]:
    """Examine a server and return its checks by name."""
    answer = cli("doctor", "--json", "--url", server.url, *options, env=env)
    assert answer.code == code, answer.out + answer.err
    assert answer.json["schema"] == "hivebus.doctor/1"
    return {each["check"]: each for each in answer.json["checks"]}


# --- A whole server ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_sound_server_passes_also_strictly(offline: Cli, start: Start, kind: str) -> None:
    server = start(*SOUND, kind=kind)
    with server.client() as client:
        offline("doctor", "--url", server.url)
        assert client.keys("*") == [] and client.execute_command("FUNCTION", "LIST") == [], "it only looks"
    offline.ok("send", "pm", "hello", "-a", "sender", "--url", server.url)

    found = checks(offline, server, "--strict", HIVEBUS_DURABILITY="fsync")

    assert {each["status"] for each in found.values()} == {"ok", "note"}
    assert found["durability"]["what"].startswith("it gives fsync")
    assert found["server"]["what"].startswith(kind)


def test_a_server_as_it_is_installed_is_warned_about_and_passes(offline: Cli, start: Start) -> None:
    server = start()
    found = checks(offline, server)
    assert found["durability"]["status"] == found["memory"]["status"] == "warning"
    assert "CONFIG SET appendonly yes" in found["durability"]["next"]
    checks(offline, server, "--strict", code=1)


def test_a_node_of_a_cluster_fails(offline: Cli, start: Start) -> None:
    server = start("--cluster-enabled", "yes", "--port", str(free_port()), "--cluster-port", str(free_port()))
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
            time.sleep(0.01)
    found = checks(offline, server, code=1)
    assert found["state"]["status"] == "failure" and "cluster-enabled no" in found["state"]["next"]


def test_what_is_asked_for_and_not_given_fails(offline: Cli, start: Start) -> None:
    server = start()
    found = checks(offline, server, code=1, HIVEBUS_DURABILITY="fsync")
    assert "it gives memory, and fsync is asked for: its appendonly is no" in found["durability"]["what"]
    found = checks(offline, server, code=1, HIVEBUS_DURABILITY="replicated")
    assert found["durability"]["status"] == found["replicas"]["status"] == "failure"


def test_a_server_that_may_drop_messages_fails(offline: Cli, start: Start) -> None:
    found = checks(offline, start(*DURABLE, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), code=1)
    assert "deletes messages that nobody has read" in found["memory"]["what"]
    assert found["memory"]["next"].startswith("CONFIG SET maxmemory-policy noeviction")


def test_a_replica_fails(offline: Cli, start: Start) -> None:
    found = checks(offline, start("--replicaof", "127.0.0.1", str(free_port())), code=1)
    assert "it is a replica" in found["state"]["what"]


def test_libraries_of_other_releases_are_listed(offline: Cli, start: Start) -> None:
    server = start()
    with server.client() as client:
        client.function_load("#!lua name=hivebus_0ld\nredis.register_function('hb_0ld_ping', function() return 1 end)")
        client.function_load("#!lua name=somebody\nredis.register_function('theirs', function() return 1 end)")
    found = checks(offline, server)["functions"]
    assert found["what"] == "1 of other releases: hivebus_0ld"
    assert "FUNCTION DELETE" in found["next"]


def test_a_bus_that_was_flushed_under_its_processes_is_reported(offline: Cli, start: Start) -> None:
    server = start(*SOUND)
    assert "nobody has used this bus yet" in checks(offline, server)["life"]["what"]
    asyncio.run(be_there_while_it_is_flushed(server))

    found = checks(offline, server)["life"]

    assert found["status"] == "warning" and "everything was gone at 2" in found["what"]
    assert "hivebus.alarms" in found["next"]


async def be_there_while_it_is_flushed(server: OwnServer) -> None:
    async with Bus(server.url, agent="sender") as bus:
        await bus.send("pm", "lost")
        with server.client() as client:
            client.flushall()
            # Somebody else is first to use the empty server, and cannot know that it was not always empty.
            async with Bus(server.url, agent="other"):
                pass
            while not client.hexists("hb:{@sys}:born", "lost"):
                await bus.send("pm", "after")
                await asyncio.sleep(0.05)


def test_nobody_there_is_no_examination(offline: Cli) -> None:
    assert offline("doctor", "--url", f"redis://127.0.0.1:{free_port()}").code == 69
    answer = offline("doctor", "--url", "memory://")
    assert answer.code == 78 and "doctor knows Redis and Valkey" in answer.err


# --- Single findings -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evidence(redis_program: str) -> Iterator[Evidence]:
    """What a sound server says."""
    server = OwnServer(redis_program, *SOUND)
    server.start()
    try:
        yield asyncio.run(examine(server.url))
    finally:
        server.remove()


async def examine(url: str) -> Evidence:
    transport = open_streams(Endpoint(url=url))
    try:
        return await gather_evidence(transport.server, transport.layout)
    finally:
        await transport.close()


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("server", "failure", {"redis_version": "6.2.7"}),
        ("state", "failure", {"loading": "1"}),
        ("disk", "failure", {"aof_last_write_status": "err"}),
        ("disk", "failure", {"rdb_last_bgsave_status": "err"}),
        ("disk", "warning", {"aof_delayed_fsync": "3"}),
        ("memory", "warning", {"maxmemory": "100", "used_memory": "95"}),
        ("replicas", "warning", {"connected_slaves": "1", "slave0": "ip=h,port=1,state=wait_bgsave,offset=0,lag=0"}),
        ("replicas", "ok", {"connected_slaves": "1", "slave0": "ip=h,port=1,state=online,offset=0,lag=0"}),
    ],
)
def test_a_deviation_is_found(evidence: Evidence, check: str, status: str, changes: dict[str, str]) -> None:
    changed = replace(evidence, info={**evidence.info, **changes})
    found = {each.check: each for each in findings(changed, wanted=None, replicas=1)}[check]
    assert found.status == status and (found.next or status == "ok")


def test_clocks_that_differ_are_reported(evidence: Evidence) -> None:
    assert abs(evidence.skew) < 1
    for skew, status in ((61.0, "warning"), (-61.0, "warning"), (0.5, "ok")):
        found = findings(replace(evidence, skew=skew), wanted=None, replicas=1)[-1]
        assert (found.check, found.status) == ("clock", status)


def test_who_may_not_look_relies_on_the_operator(evidence: Evidence) -> None:
    blind = replace(evidence, settings=None, libraries=None)
    assert named(blind, "durability").status == "warning"
    facts: dict[str, Any] = {"level": "fsync", "config_file": "", "port": "0", "configuration": {}, "at": 0, "by": "op"}
    word = Attestation(**facts, run_id=evidence.info["run_id"], lasting=False)
    assert named(replace(blind, attested=word), "durability").status == "ok"
    stale = replace(blind, attested=replace(word, run_id="another"))
    assert named(stale, "attestation").status == "failure"


def named(evidence: Evidence, check: str) -> Any:
    return {each.check: each for each in findings(evidence, wanted=None, replicas=1)}[check]


# --- The operator's word -------------------------------------------------------------------------------


def test_attesting_is_asked_for_shown_and_written(offline: Cli, start: Start) -> None:
    server = start(*SOUND)
    bus = ("--url", server.url)
    refused = offline("doctor", "--attest", *bus)
    assert refused.code == 2 and "--yes" in refused.err
    assert offline("doctor", "--yes", *bus).code == 2

    shown = offline.ok("doctor", "--attest", "--dry-run", "--json", *bus).json["attested"]
    assert (shown["level"], shown["lasting"]) == ("fsync", False)
    assert checks(offline, server)["attestation"]["status"] == "note", "nothing was written"

    offline.ok("doctor", "--attest", "--yes", *bus)
    found = checks(offline, server)["attestation"]
    assert found["status"] == "ok" and found["what"].endswith("until the server is restarted")

    with server.client() as client:
        client.config_set("appendfsync", "everysec")
    assert "false" in checks(offline, server, code=1)["attestation"]["what"]
    offline.ok("doctor", "--attest", "--yes", *bus)
    assert checks(offline, server)["attestation"]["status"] == "note", "it was withdrawn"
