"""The questions that tmux answers in the same breath in which it writes.

Between a check by us and a write by us a pane could die, and a paste into a dead pane takes the whole
server of tmux 3.3a with it. So the server checks and writes in one go, and prints which of both it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from hivebus_tmux.errors import PaneRefused, Reason
from hivebus_tmux.inventory import TAKES_OPTION, Owner, Pane

SHELLS = ("sh", "ash", "bash", "csh", "dash", "elvish", "fish", "ksh", "mksh", "nu", "pwsh", "tcsh", "xonsh", "zsh")
PASTED = "PASTED"
TAKEN = "TAKEN"
"""Pasted, for a program that takes it as it is."""
PASTED_OR_TAKEN = f"#{{?#{{==:#{{{TAKES_OPTION}}},#{{pane_pid}}}},{TAKEN},{PASTED}}}"
ENTERED = "ENTERED"
_REFUSED = "REFUSED"

_WORDS: dict[Reason, tuple[str, str]] = {
    "no_window": ("is another one now", "it was closed, or its program was started anew"),
    "pane_dead": ("shows a program that has ended", "start it again: tmux respawn-pane -k -t {id}"),
    "copy_mode": ("is being looked through by somebody", "leave copy mode: q"),
    "input_off": ("takes no input", "tmux select-pane -e -t {id}"),
    "synchronised": ("passes what is typed on to other panes", "tmux set -w -t {id} synchronize-panes off"),
    "shell_foreground": (
        "shows a shell, which would run the text",
        "start the agent's program in it; a script that starts it should end with exec",
    ),
}


def checks(pane: Pane, owner: Owner) -> Sequence[tuple[Reason, str]]:
    """Return each reason to refuse, and the format that is true when it holds."""
    stranger = (
        f"#{{||:#{{!=:#{{pane_id}},{pane.id}}},"
        f"#{{||:#{{!=:#{{pane_pid}},{pane.pid}}},#{{!=:#{{{owner.option}}},{owner.agent}}}}}}}"
    )
    return (
        ("no_window", stranger),
        ("pane_dead", "#{pane_dead}"),
        ("copy_mode", "#{pane_in_mode}"),
        ("input_off", "#{pane_input_off}"),
        ("synchronised", "#{pane_synchronized}"),
        ("shell_foreground", f"#{{m/r:^-?({'|'.join(SHELLS)})$,#{{pane_current_command}}}}"),
    )


def guarded(pane: Pane, owner: Owner, *, write: str, otherwise: str = "") -> Sequence[str]:
    """Return the tmux command that carries out *write* unless a check says no, and *otherwise* then.

    It prints nothing by itself when *write* is carried out: that must end with `say`.
    """
    questions = [question for _, question in checks(pane, owner)]
    refused = f"display-message -p -t {pane.id} '{_REFUSED} {' '.join(map(_yes_or_no, questions))}'"
    any_ = reduce(lambda one, other: f"#{{||:{one},{other}}}", questions)
    return ("if-shell", "-F", "-t", pane.id, any_, f"{refused}{otherwise and f' ; {otherwise}'}", write)


def say(word: str, pane: Pane) -> str:
    """Return the tmux command that prints *word*, or what a format makes of it, for the pane."""
    return f"display-message -p -t {pane.id} '{word} #{{pane_id}}'"


def tells(out: str, word: str, pane: Pane) -> bool:
    """Tell whether tmux printed that it did what *word* stands for, in this pane."""
    return f"{word} {pane.id}" in out.splitlines()


def refusal(out: str, pane: Pane, owner: Owner) -> PaneRefused | None:
    """Return why tmux wrote nothing, or None when it did not say so."""
    line = next((line for line in out.splitlines() if line.startswith(f"{_REFUSED} ")), None)
    if line is None:
        return None
    reasons = [reason for reason, _ in checks(pane, owner)]
    answers = line.split()[1:]
    # With no reason left, a shell had been in the foreground: that alone may change while tmux looks.
    reason = next((reason for reason, answer in zip(reasons, answers, strict=True) if answer != "0"), reasons[-1])
    what, hint = _WORDS[reason]
    return PaneRefused(
        f"window {pane} of {owner} {what}", reason=reason, cause="nothing was written", hint=hint.format(id=pane.id)
    )


def _yes_or_no(question: str) -> str:
    return f"#{{?{question},1,0}}"
