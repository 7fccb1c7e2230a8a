"""An operator's word: agents that may not read the configuration believe it as long as it fits the server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from hivebus.bus import Bus
from hivebus.errors import DurabilityUnavailable
from hivebus.transport import Endpoint
from hivebus_redis import attestation, attesting, promise
from hivebus_redis.evidence import gather_evidence
from hivebus_redis.examination import findings
from hivebus_redis.streams import open_streams

from .own_server import DURABLE, OwnServer
from .replicas import make_pair

SECRET = "s3cret"
RIGHTS = ("+@connection", "+@stream", "+@read", "+@write", "+fcall", "+function|load", "+time", "+info")
USER = ("--user", "agent", "on", f">{SECRET}", "~*", *RIGHTS)
FSYNC = "appendonly yes\nappendfsync always\n"
EVERYSEC = "appendonly yes\nappendfsync everysec\n"
Make = Callable[..., OwnServer]


@dataclass(frozen=True)
class Site:
    """A server with an operator, and an agent that may not read its configuration."""

    server: OwnServer
    namespace: str

    async def attest(self) -> attestation.Attestation | None:
        """Look and write down, as `hivebus doctor --attest` does."""
        transport = open_streams(Endpoint(url=self.server.url, namespace=self.namespace))
        await transport.connect()
        evidence = await gather_evidence(transport.server, transport.layout)
        found = attesting.attest(evidence, url=self.server.url)
        await transport.write(attestation.KIND, attestation.NAME, found.as_value() if found else None)
        await transport.close()
        return found

    async def told(self, server: OwnServer | None = None) -> str:
        """Return the level that the agent gets when it asks for fsync, or why not."""
        url = (server or self.server).url.replace("unix://", f"unix://agent:{SECRET}@")
        try:
            async with Bus(url, agent="sender", namespace=self.namespace, durability="fsync") as bus:
                return str((await bus.send("pm", "hello")).durability)
        except DurabilityUnavailable as error:
            return str(error)

    async def doctor(self) -> tuple[str, str]:
        """Return what a later look says about the attestation."""
        transport = open_streams(Endpoint(url=self.server.url, namespace=self.namespace))
        evidence = await gather_evidence(transport.server, transport.layout)
        await transport.close()
        found = {each.check: each for each in findings(evidence, wanted=None, replicas=1)}["attestation"]
        return found.status, found.what


@pytest.fixture
def make_site(make_server: Make) -> Callable[..., Site]:
    """Start a server with such an agent."""
    return lambda *settings, **options: Site(make_server(*USER, *settings, **options), f"t{uuid4().hex[:8]}")


def restart(site: Site, *settings: str) -> None:
    """Kill the server and start it again."""
    site.server.kill()
    site.server.start(*settings)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_what_was_attested_is_believed_also_after_a_restart_with_the_same_configuration(
    make_site: Callable[..., Site], kind: str
) -> None:
    site = make_site(kind=kind, config=FSYNC)
    assert "nobody attested it) -> let an operator run: hivebus doctor --attest" in await site.told()

    found = await site.attest()

    assert found is not None and found.lasting and found.configuration["appendfsync"] == "always"
    assert await site.told() == "fsync"
    restart(site)
    assert await site.told() == "fsync"
    assert await site.doctor() == ("ok", f"fsync, by {found.by}, also after a restart")


async def another_file(make_site: Callable[..., Site]) -> str:
    """Attest a server, start it with another file, and return what its agent gets."""
    site = make_site(config=FSYNC)
    await site.attest()
    site.server.kill()
    site.server.configure(EVERYSEC, name="other.conf")
    site.server.start()
    return await site.told()


async def test_a_restart_with_another_configuration_makes_it_stale(make_site: Callable[..., Site]) -> None:
    assert "stale: it speaks of another server" in await another_file(make_site)


async def test_saboteur_an_attestation_that_is_never_stale_is_believed_of_any_server(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promise, "why_stale", lambda attested, seen: None)
    assert await another_file(make_site) == "fsync"


async def test_without_a_file_it_ends_with_the_process(make_site: Callable[..., Site]) -> None:
    site = make_site(*DURABLE)
    found = await site.attest()
    assert found is not None and not found.lasting and await site.told() == "fsync"
    restart(site)

    assert "stale: the server was started again" in await site.told()
    assert (await site.doctor())[0] == "failure"


async def test_a_file_that_says_something_else_does_not_last(make_site: Callable[..., Site]) -> None:
    site = make_site(config=EVERYSEC)
    with closing(site.server.client()) as operator:
        operator.config_set("appendfsync", "always")
    found = await site.attest()
    assert found is not None and not found.lasting and await site.told() == "fsync"
    restart(site)

    assert "stale" in await site.told()


@pytest.mark.parametrize("how", ["CONFIG SET", "a changed file"])
async def test_what_nobody_can_see_is_found_by_the_doctor_and_withdrawn(
    make_site: Callable[..., Site], how: str
) -> None:
    site = make_site(config=FSYNC)
    await site.attest()
    if how == "CONFIG SET":
        with closing(site.server.client()) as operator:
            operator.config_set("appendfsync", "everysec")
    else:
        site.server.configure(EVERYSEC)
        restart(site)
    assert await site.told() == "fsync", "an agent cannot know better"

    status, what = await site.doctor()
    assert status == "failure" and "false: it says fsync, and its appendfsync is everysec" in what
    assert await site.attest() is None

    assert "nobody attested it" in await site.told()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_promoted_replica_does_not_inherit_it(make_server: Make, kind: str) -> None:
    pair = make_pair(make_server, *USER, *DURABLE, kind=kind, replica=("--appendonly", "yes", *USER))
    site = Site(pair.primary, f"t{uuid4().hex[:8]}")
    await site.attest()
    assert await site.told() == "fsync"
    pair.await_link()
    pair.primary.kill()
    with closing(pair.replica.client()) as operator:
        operator.replicaof("NO", "ONE")
        assert operator.info("replication")["master_replid2"] != attestation.NO_REPLID, "what tells a promotion"

    assert "stale" in await site.told(pair.replica)


async def test_who_sees_nothing_of_the_server_believes_nothing(make_server: Make) -> None:
    blind = ("--user", "agent", "on", f">{SECRET}", "~*", *(each for each in RIGHTS if each != "+info"))
    site = Site(make_server(*blind, *DURABLE), f"t{uuid4().hex[:8]}")
    await site.attest()

    assert "may read neither its configuration nor INFO) -> grant agents +info" in await site.told()


def test_a_promotion_is_seen_where_everything_else_is_the_same() -> None:
    """The replica of a twin machine: same file, same port, and the attestation that came with the data."""
    attested: dict[str, Any] = {"level": "fsync", "run_id": "a", "config_file": "/etc/redis.conf", "port": "6379"}
    word = attestation.Attestation(**attested, lasting=True, configuration={}, at=0, by="op")
    seen = {"aof_enabled": "1", "run_id": "b", "config_file": "/etc/redis.conf", "tcp_port": "6379"}

    assert attestation.why_stale(word, {**seen, "master_replid2": "0" * 40}) is None
    assert "took over" in str(attestation.why_stale(word, {**seen, "master_replid2": "1" * 40}))
    assert "append-only" in str(attestation.why_stale(word, {**seen, "aof_enabled": "0"}))
