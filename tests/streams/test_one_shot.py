"""A process that sends one message: every way to reach a server, and everything that a server may answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

import hivebus
from hivebus import sync
from hivebus.errors import BrokerFull, NotPermitted, QueueFull, Unavailable, Unknown
from hivebus.transport import Endpoint, Outgoing
from hivebus_redis.one_shot import RedisOneShot, redis_one_shot

from .own_server import OwnServer, free_port
from .proxy import Proxy
from .room import Room, outgoing, publish, take

SECRET = "s3cret-Pa55"


def sender(room: Room, url: str | None = None, **limits: int) -> RedisOneShot:
    """Return a sender into the namespace of a room."""
    made = redis_one_shot(Endpoint(url=url or room.url, namespace=room.namespace, **limits))
    assert made is not None
    return made


def states(one_shot: RedisOneShot, *items: Outgoing) -> list[str]:
    """Send and return the state of each message, or the name of its error."""
    return [getattr(each, "state", type(each).__name__) for each in one_shot.publish_once(items)]


# --- Ways to a server -----------------------------------------------------------------------------


async def test_what_it_sends_is_what_the_bus_sends(room: Room) -> None:
    items = [outgoing("a", priority=5), outgoing("b", delay=100), outgoing("c", ttl=50), outgoing("d", inbox="other")]
    assert states(sender(room), *items) == ["stored", "scheduled", "stored", "stored"]

    transport = await room.transport()

    assert await publish(transport, *items) == ["duplicate"] * 4
    assert await transport.inboxes() == ["other", "pm"]
    assert [each.data for each in await take(await room.reader(transport), 2)] == [items[0].data, items[2].data]


def test_a_lone_sender_is_told_who_reads(redis_room: Room) -> None:
    (published,) = sender(redis_room).publish_once([outgoing()])

    assert (published.evidence, published.readers, published.idle) == ("accepted", 0, None)


def test_it_goes_over_tcp(redis_room: Room, proxy: Proxy) -> None:
    assert states(sender(redis_room, proxy.url), outgoing("m-1")) == ["stored"]
    assert redis_room.entries() == ["m-1"]


@pytest.mark.parametrize("database", [("/3", ""), ("", "?db=3"), ("/7", "?db=3")])
async def test_it_chooses_the_database_as_the_bus_does(
    database: tuple[str, str], redis_room: Room, proxy: Proxy
) -> None:
    url = proxy.url + "".join(database)

    assert states(sender(redis_room, url), outgoing("m-1")) == ["stored"]

    assert await publish(await redis_room.transport(url), outgoing("m-1")) == ["duplicate"]
    with redis.Redis(port=proxy.port, db=3) as client:
        assert client.keys(redis_room.key("*")) != []
    assert redis_room.redis.keys(redis_room.key("*")) == []


async def test_a_database_is_chosen_on_a_unix_socket_too(redis_room: Room) -> None:
    assert states(sender(redis_room, f"{redis_room.url}?db=3"), outgoing("m-1")) == ["stored"]
    assert await publish(await redis_room.transport(f"{redis_room.url}?db=3"), outgoing("m-1")) == ["duplicate"]
    assert redis_room.entries() == []


def test_a_database_that_the_server_does_not_have_is_an_error(redis_room: Room, proxy: Proxy) -> None:
    with pytest.raises(hivebus.HivebusError, match="out of range"):
        sender(redis_room, f"{proxy.url}/99999").publish_once([outgoing()])


@pytest.mark.parametrize("user", ["", "default", "agent"])
def test_it_logs_in(user: str, make_server: Callable[..., OwnServer]) -> None:
    server = make_server("--requirepass", SECRET)
    with redis.Redis(unix_socket_path=server.socket, password=SECRET) as client:
        client.execute_command("ACL", "SETUSER", "agent", "on", f">{SECRET}", "~*", "+@all")
    one_shot = redis_one_shot(Endpoint(url=f"unix://{user}:{SECRET}@{server.socket}"))

    assert one_shot is not None and states(one_shot, outgoing()) == ["stored"]


def test_a_password_may_hold_anything_when_it_is_encoded(make_server: Callable[..., OwnServer]) -> None:
    server = make_server("--requirepass", "a/b@c:d%e")
    one_shot = redis_one_shot(Endpoint(url=f"unix://:a%2Fb%40c%3Ad%25e@{server.socket}"))

    assert one_shot is not None and states(one_shot, outgoing()) == ["stored"]


def test_functions_that_are_missing_are_loaded(own_server: OwnServer) -> None:
    with own_server.client() as client:
        room = Room(own_server.url, client)
        assert states(sender(room), outgoing("m-1")) == ["stored"]
        client.function_flush()
        assert states(sender(room), outgoing("m-1"), outgoing("m-2")) == ["duplicate", "stored"]


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *words, *names], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_port(certificate: tuple[Path, Path], make_server: Callable[..., OwnServer]) -> int:
    """A server that is reached by TLS."""
    cert, key = certificate
    port = free_port()
    make_server(
        "--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no",
        "--tls-ca-cert-file", str(cert),
    )  # fmt: skip
    return port


async def test_tls_works_with_a_certificate_that_is_trusted(
    tls_port: int, certificate: tuple[Path, Path], redis_room: Room
) -> None:
    url = f"rediss://localhost:{tls_port}?ssl_ca_certs={certificate[0]}"

    assert states(sender(redis_room, url), outgoing("m-1")) == ["stored"]

    transport = await redis_room.transport(url)
    assert await publish(transport, outgoing("m-1")) == ["duplicate"]
    assert len(await take(await redis_room.reader(transport))) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_port: int, redis_room: Room) -> None:
    url = f"rediss://localhost:{tls_port}"

    with pytest.raises(Unavailable, match="certificate"):
        sender(redis_room, url).publish_once([outgoing()])
    with pytest.raises(Unavailable, match="certificate"):
        await redis_room.transport(url)


async def test_a_certificate_for_another_host_is_refused(
    tls_port: int, certificate: tuple[Path, Path], redis_room: Room
) -> None:
    url = f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={certificate[0]}"

    with pytest.raises(Unavailable, match="certificate"):
        sender(redis_room, url).publish_once([outgoing()])
    with pytest.raises(Unavailable, match="certificate"):
        await redis_room.transport(url)


async def test_plain_text_to_a_tls_port_is_no_server(tls_port: int, redis_room: Room) -> None:
    with pytest.raises((Unavailable, Unknown)):
        sender(redis_room, f"redis://localhost:{tls_port}").publish_once([outgoing()])
    with pytest.raises(Unavailable):
        await redis_room.transport(f"redis://localhost:{tls_port}")


# --- What a script sees ------------------------------------------------------------------------------


def send(room: Room, url: str | None = None, **options: str) -> hivebus.Receipt:
    """Send as a script does."""
    return hivebus.send("pm", "hi", from_agent="script", url=url or room.url, namespace=room.namespace, **options)


def test_a_script_whose_line_breaks_sends_again_under_the_same_id(redis_room: Room, proxy: Proxy) -> None:
    proxy.lose_answers_to("publish")

    receipt = send(redis_room, proxy.url, message_id="m-1")

    assert (proxy.lost, receipt.state) == (1, "duplicate")
    assert redis_room.entries() == ["m-1"]


def test_a_script_gives_up_after_some_tries_and_is_told_that_it_may_try_again(
    redis_room: Room, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "GIVE_UP_AFTER", 0.5)
    proxy.lose_answers_to("publish", times=999)

    with pytest.raises(Unknown, match="same message_id"):
        send(redis_room, proxy.url, message_id="m-1")

    assert 1 < proxy.lost < 100 and redis_room.entries() == ["m-1"]


def test_a_script_is_told_what_the_server_refuses(own_server: OwnServer) -> None:
    with own_server.client() as client:
        room = Room(own_server.url, client)
        send(room)
        with pytest.raises(QueueFull):
            send(room, f"{room.url}?max_messages=1")
        with pytest.raises(NotPermitted):
            send(room, room.url.replace("://", "://:wrong@"))
        client.config_set("maxmemory", "1mb")
        with pytest.raises(BrokerFull):
            send(room)
        client.config_set("maxmemory", "0")
        own_server.kill()
        with pytest.raises(Unavailable):
            send(room)
