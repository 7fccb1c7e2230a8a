"""What `hivebus` exits with, and which error gives which code."""

from __future__ import annotations

from enum import IntEnum

from hivebus import errors


class ExitCode(IntEnum):
    """A script may rely on these."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    GATE = 3
    INVALID_MESSAGE = 65
    UNAVAILABLE = 69
    BUG = 70
    TRY_LATER = 75
    NOT_PERMITTED = 77
    CONFIG = 78
    INTERRUPTED = 130
    BROKEN_PIPE = 141


CODES: tuple[tuple[type[errors.HivebusError], ExitCode], ...] = (
    (errors.InvalidMessage, ExitCode.INVALID_MESSAGE),
    (errors.NotPermitted, ExitCode.NOT_PERMITTED),
    (errors.NotFound, ExitCode.CHECK_FAILED),
    # Full, written by somebody else meanwhile, or outcome unknown: the same command may do later.
    (errors.Refused, ExitCode.TRY_LATER),
    (errors.Unknown, ExitCode.TRY_LATER),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
    # The command asks for what this server is not set up to give: trying again will not help.
    (errors.DurabilityUnavailable, ExitCode.CONFIG),
    (errors.Unsupported, ExitCode.CONFIG),
    (errors.ConfigError, ExitCode.CONFIG),
    (errors.HivebusError, ExitCode.CHECK_FAILED),
)
"""The first class that fits decides."""


def exit_code_of(error: errors.HivebusError) -> ExitCode:
    """Return the exit code for *error*."""
    return next(code for kind, code in CODES if isinstance(error, kind))
