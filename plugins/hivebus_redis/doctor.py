"""`hivebus doctor`: examine the server, and attest it for agents that may not look themselves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import click

from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command
from hivebus.cli.output import document, table
from hivebus.errors import Unsupported
from hivebus.settings import masked
from hivebus_redis import attestation
from hivebus_redis.attesting import attest
from hivebus_redis.evidence import Evidence, gather_evidence, level_of
from hivebus_redis.examination import Finding, findings
from hivebus_redis.streams import RedisStreams, open_embedded, open_streams

SCHEMES = ("redis", "redis+streams", "rediss", "unix")


@command("doctor", examples=["hivebus doctor", "hivebus doctor --attest --dry-run"])
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option("--attest", "attesting", is_flag=True, help="Write down what this server gives, for agents.")
@click.option("--dry-run", is_flag=True, help="With --attest: only say what would be written.")
@click.option("--yes", is_flag=True, help="With --attest: do not ask; needed where nobody can be asked.")
def doctor(app: App, *, strict: bool, attesting: bool, dry_run: bool, yes: bool) -> ExitCode:
    """Examine the server: what it promises, what is wrong with it, and what to do about that.

    Changes nothing. With --attest, what its configuration gives is written into the directory, so that
    agents that may not read the configuration can rely on it; a server that gives no more than memory
    loses the attestation that it has.

    Exit code 1 when a check failed.
    """
    if not attesting and (dry_run or yes):
        raise click.UsageError("--dry-run and --yes belong to --attest")
    if attesting and not (dry_run or yes):
        _ask()
    app.name_server()
    evidence, written = asyncio.run(_examine(app, attesting=attesting, dry_run=dry_run))
    found = findings(evidence, wanted=app.settings.durability, replicas=_replicas(app))
    _show(app, evidence, found, written)
    bad = {"failure", "warning"} if strict else {"failure"}
    return ExitCode.CHECK_FAILED if any(each.status in bad for each in found) else ExitCode.OK


def _ask() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("this changes what agents rely on, and nobody can be asked: add --yes, or --dry-run")
    click.confirm("Agents will rely on what is found now. Go on?", abort=True, err=True)


async def _examine(app: App, *, attesting: bool, dry_run: bool) -> tuple[Evidence, attestation.Attestation | None]:
    transport = _open(app)
    try:
        evidence = await gather_evidence(transport.server, transport.layout)
        if not attesting:
            return evidence, None
        found = attest(evidence, url=app.settings.url)
        if not dry_run:
            await transport.connect()
            await transport.write(attestation.KIND, attestation.NAME, found.as_value() if found else None)
            evidence = replace(evidence, attested=found)
        return evidence, found
    finally:
        await transport.close()


def _open(app: App) -> RedisStreams:
    # Without the level that the settings ask for: a server that does not give it is what a doctor is for.
    endpoint = replace(app.settings.endpoint(), durability=None)
    scheme = endpoint.url.partition("://")[0]
    if scheme == "embedded":
        return open_embedded(endpoint)
    if scheme not in SCHEMES:
        raise Unsupported(
            f"there is no examination for {masked(endpoint.url)}",
            cause="doctor knows Redis and Valkey",
            hint="hivebus transports describe",
        )
    return open_streams(endpoint)


def _replicas(app: App) -> int:
    from hivebus_redis.address import parse_endpoint

    endpoint = app.settings.endpoint()
    return 1 if endpoint.url.startswith("embedded:") else parse_endpoint(endpoint).replicas


def _show(app: App, evidence: Evidence, found: Sequence[Finding], written: attestation.Attestation | None) -> None:
    level = level_of(evidence).name
    if app.as_json:
        facts = {
            "server": masked(app.settings.url),
            "durability": level,
            "checks": [asdict(each) for each in found],
            "attested": None if written is None else written.as_value(),
        }
        document("doctor", facts)
        return
    table(
        ("CHECK", "STATUS", "FOUND", "NEXT"),
        [(each.check, each.status, each.what, each.next or None) for each in found],
    )
    if written is not None:
        app.note(f"attested: {written.level}, with {written.config_file or 'no configuration file'}")
