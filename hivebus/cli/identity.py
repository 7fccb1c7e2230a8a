"""Who runs a command: flag, environment, tmux pane, file, in this order, and which of them said it.

Inside tmux the pane itself knows its agent (`PANE_OPTION`), so that neither the agent nor its prompt has to.
tmux is asked by a plain command, only when nothing before it says who, and never for longer than `PANE_TIMEOUT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from hivebus import limits
from hivebus.errors import ConfigError, one_line, shorten
from hivebus.settings import PANE_OPTION, PANE_TIMEOUT, Settings


class Identity(NamedTuple):
    """Who it is, as far as anybody said so.

    Attributes:
        agent: None when nobody did.
        source: what said it, or ``default``.
        silence: why the pane said nothing, where there is one.
    """

    agent: str | None
    source: str
    silence: str | None = None


def identify(settings: Settings, *, flag: str | None, env: Mapping[str, str]) -> Identity:
    """Return who runs the command; raises `ConfigError` for a pane that names what cannot be an agent."""
    said = Identity(settings.agent, settings.sources["agent"])
    if flag or env.get("HIVEBUS_AGENT") or not env.get("TMUX"):
        return said
    pane = env.get("TMUX_PANE", "")
    if not re.fullmatch(r"%\d{1,9}", pane):
        return said._replace(silence=f"TMUX is set, but TMUX_PANE = {shorten(pane)} names no pane")
    name, silence = _ask(pane, env)
    if not name:
        return said._replace(silence=silence)
    return Identity(_checked(name, pane, settings), f"{PANE_OPTION} of tmux pane {pane}")


def nobody_said(identity: Identity) -> ConfigError:
    """Return the error for a command that has to know."""
    silence = f"; {identity.silence}" if identity.silence else ""
    return ConfigError(
        "this command needs to know which agent you are",
        cause=f"neither --agent, HIVEBUS_AGENT, a tmux pane nor a config file says so{silence}",
        hint=f"add --agent NAME, or export HIVEBUS_AGENT=NAME, or in tmux: tmux set -p {PANE_OPTION} NAME",
    )


def _ask(pane: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return what the pane says, and why it says nothing."""
    # Imported late: most agents are named by their environment, and this takes a tenth of a command's time.
    import subprocess

    try:
        answer = subprocess.run(
            ["tmux", "show-options", "-pqv", "-t", pane, PANE_OPTION],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PANE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"tmux did not say within {PANE_TIMEOUT:g} s which agent runs in pane {pane}"
    except OSError as error:
        return "", f"TMUX is set, but tmux cannot be run: {error.strerror}"
    if answer.returncode:
        return "", f"tmux could not say who runs in pane {pane}: {one_line(answer.stderr.decode(errors='replace'))}"
    name = answer.stdout.decode(errors="replace").strip()
    return name, f"the option {PANE_OPTION} of tmux pane {pane} is not set"


def _checked(name: str, pane: str, settings: Settings) -> str:
    agent = settings.name_of(name)
    if re.fullmatch(limits.NAME_PATTERN, agent):
        return agent
    raise ConfigError(
        f"wrong setting agent = {shorten(name)} from {PANE_OPTION} of tmux pane {pane}: {limits.NAME_RULE}",
        hint=f"tmux set -p -t {pane} {PANE_OPTION} NAME, or an entry in [aliases]",
    )
