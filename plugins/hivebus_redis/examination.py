"""What `hivebus doctor` finds on a server: each finding with its reason and the next step.

A server that is full, read-only or still loading is examined too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from hivebus.capabilities import is_as_durable
from hivebus_redis import attestation
from hivebus_redis.durability import joined, judge
from hivebus_redis.evidence import Evidence, level_of
from hivebus_redis.library import read_prefix

Status = Literal["ok", "note", "warning", "failure"]
OLDEST = (7, 0)
SKEW = 5.0
"""Seconds by which the clocks of server and machine may differ before somebody should hear of it."""
RECENTLY = 7 * 86_400
"""Seconds for which a loss of everything is reported as one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of a server.

    Attributes:
        check: its name.
        status: ok, note (worth knowing), warning (something may be lost or refused), failure (not as asked).
        what: what was found.
        next: what to do; "" when nothing.
    """

    check: str
    status: Status
    what: str
    next: str = ""


def findings(evidence: Evidence, *, wanted: str | None, replicas: int) -> list[Finding]:
    """Return every finding, in the order in which an operator cares."""
    return [
        _version(evidence),
        _state(evidence),
        _durability(evidence, wanted, replicas),
        _attestation(evidence),
        _memory(evidence),
        _disk(evidence),
        _truncation(evidence),
        _replicas(evidence, wanted, replicas),
        _functions(evidence),
        _life(evidence),
        _clock(evidence),
    ]


# --- The checks ---------------------------------------------------------------------------------------


def _version(evidence: Evidence) -> Finding:
    facts = evidence.info
    name = f"valkey {facts['valkey_version']}" if "valkey_version" in facts else f"redis {facts['redis_version']}"
    major, minor, *_ = (int(part) for part in facts["redis_version"].split("."))
    if (major, minor) < OLDEST:
        return Finding("server", "failure", f"{name} has no functions", "install Redis >= 7.0, or Valkey")
    return Finding("server", "ok", f"{name}, up for {int(facts['uptime_in_seconds'])} s")


def _state(evidence: Evidence) -> Finding:
    facts = evidence.info
    if facts.get("loading") == "1":
        return Finding("state", "failure", "it is still loading its data", "wait; senders do so for 10 s")
    if facts["role"] != "master":
        where = f"{facts.get('master_host')}:{facts.get('master_port')}"
        return Finding("state", "failure", f"it is a replica of {where}, and takes no messages", "use the primary")
    if facts.get("cluster_enabled") == "1":
        return Finding(
            "state",
            "failure",
            "it is a node of a cluster, which is not supported",
            "use a server with cluster-enabled no",
        )
    return Finding("state", "ok", "it is a primary, and takes commands")


def _durability(evidence: Evidence, wanted: str | None, replicas: int) -> Finding:
    level = level_of(evidence)
    enough = _linked(evidence) >= replicas
    have = joined(level.name, replicated=bool(wanted and "replicated" in wanted and enough))
    if wanted is not None and not is_as_durable(have, wanted):
        missing = level.why if "fsync" in wanted and level.name != "fsync" else f"{replicas} replicas are needed"
        return Finding("durability", "failure", f"it gives {have}, and {wanted} is asked for: {missing}", level.hint)
    if level.name == "memory":
        return Finding(
            "durability", "warning", f"it gives memory: {level.why}; a crash of it may cost messages", level.hint
        )
    return Finding("durability", "ok", f"it gives {have}: {level.why}")


def _attestation(evidence: Evidence) -> Finding:
    attested = evidence.attested
    attest = "hivebus doctor --attest"
    if attested is None:
        return Finding("attestation", "note", "nobody attested it: agents without CONFIG rely on memory only", attest)
    stale = attestation.why_stale(attested, evidence.info)
    if stale:
        return Finding("attestation", "failure", f"stale, agents refuse it: {stale}", attest)
    if evidence.settings is not None and judge(evidence.settings).name != attested.level:
        why = judge(evidence.settings).why
        return Finding(
            "attestation", "failure", f"false: it says {attested.level}, and {why}; agents believe it", attest
        )
    how = "also after a restart" if attested.lasting else "until the server is restarted"
    return Finding("attestation", "ok", f"{attested.level}, by {attested.by}, {how}")


def _memory(evidence: Evidence) -> Finding:
    policy = evidence.info.get("maxmemory_policy", "")
    limit = int(evidence.info.get("maxmemory", 0))
    if policy != "noeviction":
        return Finding(
            "memory",
            "failure",
            f"its maxmemory-policy is {policy}: a full server deletes messages that nobody has read",
            "CONFIG SET maxmemory-policy noeviction; CONFIG REWRITE",
        )
    if limit == 0:
        return Finding(
            "memory",
            "warning",
            "it has no maxmemory: when the machine runs out, the system kills the server",
            "CONFIG SET maxmemory, to 70 % of the machine's memory; CONFIG REWRITE",
        )
    used = 100 * int(evidence.info["used_memory"]) // limit
    if used >= 90:
        return Finding(
            "memory", "warning", f"{used} % of its maxmemory are used", "let consumers drain it, or raise it"
        )
    return Finding("memory", "ok", f"noeviction, and {used} % of its maxmemory are used")


def _disk(evidence: Evidence) -> Finding:
    facts = evidence.info
    names = {
        "aof_last_write_status": "the last write to its append-only file failed: it refuses messages",
        "aof_last_bgrewrite_status": "the last rewrite of its append-only file failed",
        "rdb_last_bgsave_status": "the last snapshot failed",
    }
    wrong = [what for name, what in names.items() if facts.get(name, "ok") != "ok"]
    if wrong:
        return Finding("disk", "failure", "; ".join(wrong), "free disk space, and read the log of the server")
    delayed = int(facts.get("aof_delayed_fsync", 0))
    if delayed:
        return Finding("disk", "warning", f"{delayed} writes waited for a slow disk", "look at the disk")
    return Finding("disk", "ok", "the last writes and snapshots succeeded")


def _truncation(evidence: Evidence) -> Finding:
    setting = evidence.settings and evidence.settings.get("aof-load-truncated")
    if setting != "yes":
        return Finding("truncation", "ok" if setting else "note", f"aof-load-truncated is {setting or 'not known'}")
    return Finding(
        "truncation",
        "note",
        "after damage to the end of its append-only file it starts without that end, and says so in its log only",
        "CONFIG SET aof-load-truncated no, where a refused start is better than a silent loss",
    )


def _replicas(evidence: Evidence, wanted: str | None, replicas: int) -> Finding:
    linked, known = _linked(evidence), int(evidence.info.get("connected_slaves", 0))
    if wanted and "replicated" in wanted and linked < replicas:
        return Finding(
            "replicas", "failure", f"{linked} of {replicas} replicas are online: nothing is replicated", "start them"
        )
    if linked < known:
        return Finding("replicas", "warning", f"{known - linked} of {known} replicas are behind", "look at their logs")
    return Finding("replicas", "ok", f"{linked} online")


def _functions(evidence: Evidence) -> Finding:
    if evidence.libraries is None:
        return Finding("functions", "note", "this user may not list them")
    ours = f"hivebus_{read_prefix().removeprefix('hb_').rstrip('_')}"
    others = [name for name in evidence.libraries if name != ours]
    if others:
        return Finding(
            "functions",
            "note",
            f"{len(others)} of other releases: {', '.join(others)}",
            "when no process of those releases runs any more: FUNCTION DELETE NAME",
        )
    if not evidence.libraries:
        return Finding("functions", "note", "none are loaded; the first client does that")
    return Finding("functions", "ok", f"those of this release, {ours}")


def _life(evidence: Evidence) -> Finding:
    if evidence.born is None:
        return Finding("life", "ok", "nobody has used this bus yet")
    if evidence.lost is None:
        return Finding("life", "ok", f"this bus has been here since {_moment(evidence.born)}")
    at, value = evidence.lost
    recent = time.time() + evidence.skew - at < RECENTLY
    return Finding(
        "life",
        "warning" if recent else "note",
        f"everything was gone at {_moment(at)}, of a bus that had been here since {_moment(value['before'] / 1000)}: "
        "it was flushed, or another server stands in its place",
        "find out who did it; senders know the ids of what they sent, and the logger hivebus.alarms said it then",
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _clock(evidence: Evidence) -> Finding:
    what = f"the server is {abs(evidence.skew):.1f} s {'ahead of' if evidence.skew > 0 else 'behind'} this machine"
    if abs(evidence.skew) > SKEW:
        return Finding("clock", "warning", what, "let both use NTP; only the server's clock counts for messages")
    return Finding("clock", "ok", what)


def _linked(evidence: Evidence) -> int:
    rows = [value for name, value in evidence.info.items() if name.startswith("slave") and "state=" in value]
    return sum("state=online" in row for row in rows)
