"""The URL of a server: what it may say, and what a user is told about a mistake in it."""

from __future__ import annotations

import pytest

from hivebus.errors import ConfigError
from hivebus.transport import Endpoint
from hivebus_redis.address import parse_endpoint
from hivebus_redis.one_shot import redis_one_shot
from hivebus_redis.streams import open_streams

PASSWORD = "pa55word"


@pytest.mark.parametrize(
    ("url", "for_the_client", "shown"),
    [
        ("redis://localhost", "redis://localhost", "redis://localhost"),
        ("redis://localhost:6380/3", "redis://localhost:6380/3", "redis://localhost:6380/3"),
        ("redis+streams://host", "redis://host", "redis+streams://host"),
        ("rediss://host:1?ssl_ca_certs=/ca", "rediss://host:1?ssl_ca_certs=%2Fca", "rediss://host:1"),
        (f"redis://me:{PASSWORD}@host:1/2", f"redis://me:{PASSWORD}@host:1/2", "redis://host:1/2"),
        (f"redis://:{PASSWORD}%2F%40@host", f"redis://:{PASSWORD}%2F%40@host", "redis://host"),
        ("unix:///run/hb.sock?db=2", "unix:///run/hb.sock?db=2", "unix:///run/hb.sock"),
        (f"unix://:{PASSWORD}@/run/a@b.sock", f"unix://:{PASSWORD}@/run/a@b.sock", "unix:///run/a@b.sock"),
        ("redis://h?max_messages=7&max_bytes=8", "redis://h", "redis://h"),
        ("redis://h?max_messages=7&client_name=x", "redis://h?client_name=x", "redis://h"),
    ],
)
def test_a_url_is_split_into_what_is_used_and_what_is_shown(url: str, for_the_client: str, shown: str) -> None:
    address = parse_endpoint(Endpoint(url=url))

    assert (address.url, address.where) == (for_the_client, shown)


def test_limits_in_the_url_win_over_those_of_the_settings() -> None:
    endpoint = Endpoint(url="redis://h?max_messages=7", max_messages=1, max_bytes=2)

    address = parse_endpoint(endpoint)

    assert (address.max_messages, address.max_bytes) == (7, 2)


@pytest.mark.parametrize("factory", [open_streams, redis_one_shot])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://host:port", "port"),
        ("redis://host:99999", "port"),
        ("redis://[::1", "bracket"),
        ("redis://host/first", "database"),
        ("redis://host/1/2", "database"),
        ("redis://h?max_messages=0", "max_messages=0"),
        ("redis://h?max_messages=many", "max_messages=many"),
        ("redis://h?max_bytes=-1", "max_bytes=-1"),
        ("redis://h?max_bytes=1.5", "max_bytes=1.5"),
    ],
)
def test_a_mistake_is_named(url: str, says: str, factory) -> None:
    with pytest.raises(ConfigError, match=says):
        factory(Endpoint(url=url))


@pytest.mark.parametrize("option", ["no_such_option=1", "health_check_interval=often"])
def test_an_option_that_the_client_does_not_know_is_named(option: str) -> None:
    assert redis_one_shot(Endpoint(url=f"redis://h?{option}")) is None, "left to the full client"

    with pytest.raises(ConfigError, match=option.partition("=")[0]):
        open_streams(Endpoint(url=f"redis://h?{option}"))


@pytest.mark.parametrize("mark", ["/", "?", "#", "[", "/1", "12/"])
@pytest.mark.parametrize("user", ["", "me"])
def test_a_password_that_was_not_encoded_is_a_mistake_and_stays_secret(user: str, mark: str) -> None:
    url = f"redis://{user}:{mark}{PASSWORD}@host:6379/0"

    with pytest.raises(ConfigError) as caught:
        open_streams(Endpoint(url=url))

    assert "%2F" in str(caught.value)
    assert PASSWORD not in str(caught.value) and caught.value.__cause__ is None
