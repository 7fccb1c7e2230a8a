"""`tmux://SESSION`: messages typed into agents' windows, and what that can honestly promise."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from zlib import crc32

from hivebus.address import behind_shadow
from hivebus.errors import HivebusError, Unavailable, Unsupported
from hivebus.transport import (
    Capabilities,
    Endpoint,
    Feature,
    Outgoing,
    Published,
    Publisher,
    Rendering,
    emulated,
    native,
)
from hivebus_tmux.control import ControlLine
from hivebus_tmux.errors import PaneRefused, PaneUnknown, TooLarge
from hivebus_tmux.frames import joined, legacy_text, safe_frame
from hivebus_tmux.inventory import Owner, look
from hivebus_tmux.legacy import LegacyDriver
from hivebus_tmux.place import Place, parse_place
from hivebus_tmux.runner import Tmux
from hivebus_tmux.safe import SafeDriver
from hivebus_tmux.text import fingerprint, said

CONNECT_WITHIN = 3.0
MAX_TEXT = 1024 * 1024
"""Bytes of one message in a window; more was never seen to arrive whole."""
MAX_LEGACY = 16_000
"""Bytes that fit into one command of tmux."""
MAX_PASTE = 64 * 1024
"""Bytes up to which messages share a paste; a larger one has a paste of its own."""
MAX_TOGETHER = 20
SCRIPTS = 64
"""How many legacy deliveries run at once, as so many scripts would."""


def open_tmux(endpoint: Endpoint) -> TmuxTransport:
    """Return the transport for a ``tmux://`` URL, or raise `ConfigError`."""
    return TmuxTransport(parse_place(endpoint.url))


class TmuxTransport(Publisher, Rendering):
    """Windows of one tmux session. Nothing is kept: what a window does not take now is refused.

    A message to ``NAME`` is typed into the agent's window; a copy, to its shadow inbox, into the window
    ``mirror-NAME`` and nowhere else, and always safely.
    """

    def __init__(self, place: Place) -> None:
        tmux = Tmux(place.server)
        self.driver = place.driver
        self._place = place
        self._tmux = tmux
        self._line = ControlLine(tmux, session=place.session)
        self._safe = SafeDriver(self._line, place)
        self._legacy = LegacyDriver(tmux, place)
        self._scripts = asyncio.Semaphore(SCRIPTS)

    @property
    def is_attached(self) -> bool:
        """Whether a client stays attached to the session, so that a message costs no process."""
        return self._line.is_attached

    async def connect(self) -> Capabilities:
        try:
            panes = await look(self._tmux, within=CONNECT_WITHIN)
        except (PaneRefused, PaneUnknown) as error:
            raise Unavailable(f"{self._place}: {error.what}", cause=error.cause, hint=error.hint) from None
        sessions = sorted({pane.session for pane in panes})
        if self._place.session not in sessions:
            raise Unavailable(
                f"{self._place}: there is no such session",
                cause=f"the server has {', '.join(sessions)}",
                hint=f"tmux new-session -d -s {self._place.session}, or name another one in the URL",
            )
        return Capabilities(
            evidence=native("accepted"),
            durability=Feature("absent", "none"),
            order=emulated("per_sender") if self.driver == "safe" else Feature("absent", "none"),
            # Written out, a message has at most twice the bytes: a tab is two in JSON, and four spaces in a window.
            max_body=native(MAX_TEXT // 2 if self.driver == "safe" else MAX_LEGACY),
            max_batch=native(MAX_TOGETHER),
        )

    async def close(self) -> None:
        """Let go of the server, if it was held between two messages."""
        await self._line.close()

    def lane(self, item: Outgoing) -> Hashable:
        """Return the window; scripts did not queue behind each other, so the legacy driver does not either."""
        return crc32(item.message_id.encode()) % SCRIPTS if self._is_legacy(item) else item.inbox

    def fingerprint(self, data: bytes) -> str:
        return fingerprint(said(data).text)

    async def publish(self, batch: Sequence[Outgoing]) -> Sequence[Published | HivebusError]:
        results: dict[int, Published | HivebusError] = {}
        windows: defaultdict[str, list[int]] = defaultdict(list)
        scripts: list[int] = []
        for index, item in enumerate(batch):
            if item.delay > 0:
                results[index] = _undelayable()
            elif self._is_legacy(item):
                scripts.append(index)
            else:
                windows[item.inbox].append(index)
        answers = await asyncio.gather(
            *(self._type(inbox, [batch[index] for index in indexes]) for inbox, indexes in windows.items()),
            *(self._run_script(batch[index]) for index in scripts),
        )
        groups = [*windows.values(), *([index] for index in scripts)]
        for indexes, group in zip(groups, answers, strict=True):
            results.update(zip(indexes, group, strict=True))
        return [results[index] for index in range(len(batch))]

    def _is_legacy(self, item: Outgoing) -> bool:
        return self.driver == "legacy" and not behind_shadow(item.inbox)[1]

    # --- Safely, several messages in one paste -----------------------------------------------------

    async def _type(self, inbox: str, items: Sequence[Outgoing]) -> list[Published | HivebusError]:
        owner = Owner(*behind_shadow(inbox))
        results: dict[int, Published | HivebusError] = {}
        frames: dict[int, str] = {}
        for index, item in enumerate(items):
            frame = safe_frame(item.message_id, said(item.data), recipient=owner.agent)
            size = len(frame.encode())
            if size > MAX_TEXT:
                results[index] = _too_large(size, MAX_TEXT)
            else:
                frames[index] = frame
        timeout: PaneUnknown | None = None
        for indexes in _pastes(frames):
            result = _not_tried() if timeout else await self._paste([frames[index] for index in indexes], owner)
            if isinstance(result, PaneUnknown) and result.reason == "timeout":
                timeout = result
            results.update(dict.fromkeys(indexes, result))
        return [results[index] for index in range(len(items))]

    async def _paste(self, frames: Sequence[str], owner: Owner) -> Published | HivebusError:
        try:
            await self._safe.deliver(joined(frames), to=owner)
        except HivebusError as error:
            return error
        return Published("stored")

    # --- As the predecessor's script did --------------------------------------------------------------

    async def _run_script(self, item: Outgoing) -> list[Published | HivebusError]:
        async with self._scripts:
            try:
                await self._legacy.deliver(legacy_text(item.message_id, said(item.data)), to=item.inbox)
            except HivebusError as error:
                return [error]
        return [Published("stored")]


def _pastes(frames: dict[int, str]) -> Iterator[list[int]]:
    """Yield what is pasted together, in order."""
    together: list[int] = []
    room = MAX_PASTE
    for index, frame in frames.items():
        size = len(frame.encode()) + 1
        if together and (len(together) == MAX_TOGETHER or size > room):
            yield together
            together, room = [], MAX_PASTE
        together.append(index)
        room -= size
    if together:
        yield together


def _undelayable() -> Unsupported:
    return Unsupported(
        "a window takes a message now or not at all: it cannot be delayed",
        cause="tmux:// lacks the capability delay",
        hint="send it without delay",
    )


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        field="body.content",
        value=f"{size} bytes as text",
        rule=f"a message in a window may have {limit} bytes; put the rest in a file and send its path",
        why="too_large",
    )


def _not_tried() -> PaneRefused:
    return PaneRefused(
        "it was not tried, because tmux did not answer for the messages before it",
        reason="timeout",
        hint="send it again when tmux answers",
    )
