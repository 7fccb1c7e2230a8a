"""An operator's word for a configuration that agents may not read: written once, checked by everybody.

Agents are not allowed ``CONFIG``, which shows passwords. So an operator looks for them, and leaves in the
directory what was found and of which server. An agent compares that with what everybody may see of the
server in front of it, and takes nothing for granted that does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KIND = "attestation"
NAME = "server"
NO_REPLID = "0" * 40
SECTIONS = ("server", "persistence", "replication")
"""The parts of INFO that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What an operator found.

    Attributes:
        level: what the configuration gives.
        run_id: the process that was looked at.
        config_file: what it was started with; "" when there was no file.
        port: where it listens; 0 when only on a socket.
        lasting: whether the file is known, or believed, to say the same, so that a restart changes nothing.
        configuration: the settings that were read.
        at: when, in seconds since the epoch, by the operator's clock.
        by: who, as ``user@host``.
    """

    level: str
    run_id: str
    config_file: str
    port: str
    lasting: bool
    configuration: Mapping[str, str]
    at: float
    by: str

    def as_value(self) -> dict[str, Any]:
        """Return what stands in the directory."""
        return asdict(self)


def read_attestation(value: Mapping[str, Any]) -> Attestation | None:
    """Return the attestation in a directory entry; None for what another release wrote."""
    try:
        return Attestation(**value)
    except TypeError:
        return None


def why_stale(attested: Attestation, seen: Mapping[str, str]) -> str | None:
    """Return why an attestation does not speak of the server that INFO describes, or None when it does."""
    if seen.get("aof_enabled") != "1":
        return "the server writes no append-only file now"
    if seen.get("run_id") == attested.run_id:
        return None
    if not attested.lasting:
        return "the server was started again, and no configuration file is known that says the same"
    if (seen.get("config_file", ""), seen.get("tcp_port", "")) != (attested.config_file, attested.port):
        return f"it speaks of another server, with {attested.config_file} on port {attested.port}"
    if seen.get("master_replid2", NO_REPLID) != NO_REPLID:
        # A promoted replica brings along what was attested of the server that it takes over from.
        return "the server took over from another one, which is the one that was looked at"
    return None
