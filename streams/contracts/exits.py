"""How a process of callstream ends: the exit codes, and the error whose text is for the operator.

The codes are a promise to supervisors and scripts. An :class:`OperatorError` is never a bug of ours: its text says what
is wrong and what to do, so it is shown without a traceback.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a supervisor or script may rely on."""

    DONE = 0
    CRASH = 1
    USAGE = 2
    PRECONDITION = 3
    WATCHDOG = 70
    INTERRUPTED = 130


class OperatorError(Exception):
    """Something that only the operator can mend. ``str`` says what and how, free of secrets and personal data."""

    exit_code: ExitCode = ExitCode.USAGE
