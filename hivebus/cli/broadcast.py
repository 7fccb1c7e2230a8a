"""`hivebus broadcast`: one message to everybody, and who has handled it."""

from __future__ import annotations

import click

from hivebus.broadcasting import Broadcast
from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.options import command, duration_type
from hivebus.cli.output import document, table, warn
from hivebus.cli.saying import SayCommand, about_options, content_of, text_or_data


@command(
    "broadcast",
    cls=SayCommand,
    examples=[
        'hivebus broadcast "Maintenance in 10 minutes" --agent pm-agent',
        'hivebus broadcast "Stop" --agents dev,qa --type workflow_command --wait acked --timeout 30s',
    ],
)
@text_or_data("Send")
@click.option("--agents", metavar="A,B", help="Only these.  [default: everybody who is registered, but you]")
@click.option("--live-only", is_flag=True, help="Leave out who does not read at this moment.")
@click.option("--wait", type=click.Choice(["acked"]), help="Wait until everybody has handled it.")
@click.option("--timeout", type=duration_type(), help="With --wait: no longer than that.  [default: 30s]")
@about_options("information_share")
@click.option("--id", "message_id", metavar="ID", help="Your own id: sent again, it goes to who does not have it.")
def broadcast(
    app: App,
    *,
    text: str | None,
    data: str | None,
    agents: str | None,
    live_only: bool,
    wait: str | None,
    timeout: float | None,
    message_type: str,
    priority: str,
    ttl: float | None,
    message_id: str | None,
) -> ExitCode:
    """Send one message to everybody.

    Each agent gets it in its own inbox, under one id; who is offline gets it later. TEXT is taken as by hivebus send.
    With --wait acked: who has handled it, who failed, and who is silent.

    Exit code 0 when somebody has it and nobody is missing; 1 when nobody is there, or somebody could not be given it
    or failed; 75 when somebody was silent until the time was over.
    """
    if timeout is not None and wait is None:
        raise click.UsageError("--timeout needs --wait acked: nothing else is waited for")
    names = None if agents is None else [app.settings.name_of(name) for name in agents.split(",")]
    content = content_of(text, data, limit=app.settings.max_message)
    from hivebus import sync

    from_agent = app.agent
    app.name_server()
    outcome = sync.broadcast(
        content,
        from_agent=from_agent,
        agents=names,
        live_only=live_only,
        wait="acked" if wait else None,
        timeout=timeout,
        url=app.settings.url,
        namespace=app.settings.namespace,
        message_type=message_type,
        priority=priority,
        ttl=ttl,
        message_id=message_id,
    )
    _show(app, outcome)
    return _code(outcome)


def _show(app: App, outcome: Broadcast) -> None:
    rows = [_facts(outcome, name) for name in outcome.recipients]
    if app.as_json:
        summary = {
            "acked": list(outcome.acked),
            "silent": list(outcome.silent),
            "failed": list(outcome.failed),
            "not_listening": list(outcome.not_listening),
            "left_out": list(outcome.left_out),
        }
        document("broadcast", {"message_id": outcome.message_id, "recipients": rows, **summary})
    else:
        table(("ID", "AGENT", "STATE"), [(outcome.message_id, each["agent"], each["state"]) for each in rows])
    for name, error in outcome.refused.items():
        warn(f"{name}: {error}")
    for receipt in outcome.receipts.values():
        for note in receipt.notes:
            app.note(f"note: {note}")
    if not rows:
        warn("nobody got it: " + ("nobody is live" if outcome.left_out else "no agent but you is registered"))
    if outcome.silent:
        app.note(f"silent so far: {', '.join(outcome.silent)}; follow it: hivebus trace {outcome.message_id}")


def _facts(outcome: Broadcast, name: str) -> dict[str, object]:
    receipt = outcome.receipts.get(name)
    state = outcome.states.get(name) or (receipt.state if receipt else "refused")
    return {"agent": name, "state": state, "evidence": receipt.evidence if receipt else None}


def _code(outcome: Broadcast) -> ExitCode:
    if outcome:
        return ExitCode.OK
    return ExitCode.TRY_LATER if outcome.silent and not outcome.failed else ExitCode.CHECK_FAILED
