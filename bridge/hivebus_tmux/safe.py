"""Types into an agent's window so that it arrives whole, as text, there and nowhere else.

A paste in brackets, a pause for the program to settle, and an Enter of its own; no Enter for a program that has said
that it takes pastes as they are. Nothing is interrupted and nothing is typed where somebody reads, a shell waits or a
program has ended.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic

from hivebus_tmux import guard
from hivebus_tmux.errors import PaneRefused, PaneUnknown
from hivebus_tmux.inventory import Owner, Pane, find, look, not_answered, pin, timed_out
from hivebus_tmux.place import Place
from hivebus_tmux.runner import Answer, Runner
from hivebus_tmux.turns import Turns

BUDGET = 2.7
"""Seconds for one paste and its Enter, once its turn has come."""
CLEANUP = 0.1
"""Seconds to take back what was not pasted; with the budget, less than 3 seconds."""


class SafeDriver:
    """Delivers into the windows of one place; remembers which pane is whose."""

    def __init__(self, tmux: Runner, place: Place, *, turns: Turns | None = None) -> None:
        self._tmux = tmux
        self._place = place
        self._turns = turns or Turns()
        self._panes: dict[Owner, Pane] = {}

    async def deliver(self, text: bytes, *, to: Owner) -> None:
        """Return when it was pasted and submitted; raises `PaneRefused` or `PaneUnknown`."""
        pane = self._panes.get(to) or await self._find(to)
        try:
            await self._write(text, pane, to)
        except PaneRefused as error:
            if error.reason != "no_window":
                raise
            # The pane that was known is gone, or somebody else's. Nothing was written, so look once more.
            self._panes.pop(to, None)
            await self._write(text, await self._find(to), to)

    async def _find(self, owner: Owner) -> Pane:
        deadline = monotonic() + BUDGET
        pane = find(await look(self._tmux, within=BUDGET), owner, session=self._place.session)
        await pin(self._tmux, pane, owner, within=deadline - monotonic())
        self._panes[owner] = pane
        return pane

    async def _write(self, text: bytes, pane: Pane, owner: Owner) -> None:
        async with self._turns.turn(pane):
            deadline = monotonic() + BUDGET
            if await self._paste(text, pane, owner, deadline=deadline) == guard.TAKEN:
                return
            await asyncio.sleep(self._place.settle)
            await self._enter(pane, owner, deadline=deadline)

    async def _paste(self, text: bytes, pane: Pane, owner: Owner, *, deadline: float) -> str:
        """Paste, and return what tmux says of it: `guard.PASTED` or `guard.TAKEN`."""
        buffer = f"hb-{os.urandom(8).hex()}"
        words = guard.guarded(
            pane,
            owner,
            write=f"paste-buffer -p -r -d -b {buffer} -t {pane.id} ; {guard.say(guard.PASTED_OR_TAKEN, pane)}",
            otherwise=f"delete-buffer -b {buffer}",
        )
        settled = False
        try:
            answer = await self._tmux.load(text, *words, buffer=buffer, within=deadline - monotonic())
            refused = guard.refusal(answer.out, pane, owner)
            said = next((word for word in (guard.PASTED, guard.TAKEN) if guard.tells(answer.out, word, pane)), None)
            settled = said is not None or refused is not None
        finally:
            if not settled:
                await self._tmux.run("delete-buffer", "-b", buffer, within=CLEANUP)
        if refused is not None:
            raise refused
        if said is None:
            raise _no_token(answer)
        return said

    async def _enter(self, pane: Pane, owner: Owner, *, deadline: float) -> None:
        write = f"send-keys -t {pane.id} Enter ; {guard.say(guard.ENTERED, pane)}"
        answer = await self._tmux.run(*guard.guarded(pane, owner, write=write), within=deadline - monotonic())
        if guard.tells(answer.out, guard.ENTERED, pane):
            return
        if answer.timed_out:
            raise timed_out()
        refused = guard.refusal(answer.out, pane, owner)
        raise PaneUnknown(
            f"the text is in window {pane}, and Enter was not pressed",
            reason="unsubmitted",
            cause=refused.what if refused else answer.why,
            hint="look into the window: press Enter there, or remove the text",
        )


def _no_token(answer: Answer) -> PaneRefused | PaneUnknown:
    if answer.timed_out or answer.never_reached:
        return not_answered(answer)
    # Something ended between us and the server, before or after it pasted.
    return PaneUnknown(
        "tmux did not say whether it pasted",
        reason="tmux_error",
        cause=answer.why,
        hint="look into the window before you send it again",
    )
