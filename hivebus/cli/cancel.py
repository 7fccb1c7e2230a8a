"""`hivebus cancel`: take back a message that nobody was handed yet."""

from __future__ import annotations

import click

from hivebus import cancelling
from hivebus.cancelling import Cancellation
from hivebus.cli.app import App
from hivebus.cli.exit_codes import ExitCode
from hivebus.cli.link import LOOK, connect, run
from hivebus.cli.options import command
from hivebus.cli.output import document, table, warn
from hivebus.errors import NotFound
from hivebus.transport import Inspectable

_WHY = {
    "handed_out": "it was handed out already, and whoever has it decides",
    "expired": "its time to live was over before: it is a dead letter",
    "unknown": "no inbox knows it: it was never sent, or it was settled more than an hour ago",
}


@command(
    "cancel", examples=["hivebus cancel 1f0c2f3a-77ab-4c1d-9d55-0c8c1a2b3c4d", "hivebus cancel 1f0c --agent pm-agent"]
)
@click.argument("message_id", metavar="ID")
def cancel(app: App, *, message_id: str) -> ExitCode:
    """Take back a message that nobody was handed yet.

    Scheduled or queued: nobody gets it any more, and its state is cancelled. From every inbox that has it;
    with --agent from that agent's, where the beginning of the ID of a queued message will do. Saying it
    twice is harmless. Handed out already, expired or unknown: exit code 1.
    """
    told = run(_cancel(app, message_id))
    if app.as_json:
        recipients = dict(told.recipients)
        document("cancel", {"message_id": told.message_id, "outcome": told.outcome, "recipients": recipients})
    else:
        table(("ID", "AGENT", "STATE"), [(told.message_id, agent, state) for agent, state in told.recipients.items()])
    if told:
        return ExitCode.OK
    warn(f"{told.message_id}: {_WHY[told.outcome]}")
    return ExitCode.CHECK_FAILED


async def _cancel(app: App, message_id: str) -> Cancellation:
    async with connect(app) as link:
        inspectable = link.inspectable(to="find messages")
        # Only the flag narrows the search: whoever sends a message is seldom the one whose inbox it is in.
        inboxes = [app.chosen_inbox] if app.chosen_inbox else await inspectable.inboxes()
        if app.flags.get("agent") and not await inspectable.locate([message_id], inboxes):
            message_id = await _completed(inspectable, message_id, inboxes[0])
        return await cancelling.cancel(message_id, inboxes, schedules=link.schedules(), inspectable=inspectable)


async def _completed(inspectable: Inspectable, beginning: str, inbox: str) -> str:
    """Return the id of the one message in the inbox that begins so; what is given, when there is none."""
    seen = {each.message_id for each in await inspectable.peek(inbox, limit=LOOK)}
    found = sorted(each for each in seen if each.startswith(beginning))
    if len(found) > 1:
        raise NotFound(f"{beginning!r} is the beginning of {len(found)} ids", hint="give more of the id")
    return found[0] if found else beginning
