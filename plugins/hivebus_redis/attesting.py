"""Writes an attestation: an operator's look at a configuration that agents may not read."""

from __future__ import annotations

import getpass
import re
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from hivebus.errors import NotPermitted
from hivebus_redis.attestation import Attestation
from hivebus_redis.durability import NEEDED, judge
from hivebus_redis.evidence import Evidence

LOCAL = ("localhost", "127.0.0.1", "::1")


def attest(evidence: Evidence, *, url: str) -> Attestation | None:
    """Return what can be attested of the server, or None when it gives no more than memory.

    Raises:
        NotPermitted: this user may not look either.
    """
    if evidence.settings is None:
        raise NotPermitted(
            "this user may not read the configuration of the server",
            cause="an attestation is an operator's look at it",
            hint="use the URL of an operator: one with +config|get",
        )
    level = judge(evidence.settings)
    if level.name == "memory":
        return None
    file = evidence.info.get("config_file", "")
    return Attestation(
        level=level.name,
        run_id=evidence.info["run_id"],
        config_file=file,
        port=evidence.info.get("tcp_port", ""),
        lasting=bool(file) and not (is_local(url) and contradicts(file)),
        configuration={name: evidence.settings[name] for name in NEEDED},
        at=time.time(),
        by=f"{getpass.getuser()}@{socket.gethostname()}",
    )


def is_local(url: str) -> bool:
    """Tell whether the files of the server are those of this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("unix", "embedded") or parts.hostname in LOCAL


def contradicts(file: str) -> bool:
    """Tell whether a configuration file can be read, and says something else than `NEEDED`."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            said = _said(lines.read())
    except OSError:
        return False  # whoever may not read it takes the operator's word
    return any(said.get(name, default) != NEEDED[name] for name, default in _DEFAULTS.items())


def _said(text: str) -> Mapping[str, str]:
    words = (re.match(r"\s*([a-z-]+)\s+\"?([a-z]+)\"?\s*$", line) for line in text.splitlines())
    # The last one counts.
    return {match[1]: match[2] for match in words if match}


_DEFAULTS = {"appendonly": "no", "appendfsync": "everysec", "no-appendfsync-on-rewrite": "no"}
