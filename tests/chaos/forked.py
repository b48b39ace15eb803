"""Workers that are forked from a process which has imported everything: most of a short life would be imports.

What must stay true: a forked worker runs the same command line as a started one, in a session of its own, with its
output in its file; only the interpreter's start is shared.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# `__main__` too: else every child would import the test run's.
_IMPORTED = ["__main__", "streams.app", "streams.cli.worker"]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_IMPORTED)


class _Forked:
    """A forked process, as :class:`tests.e2e.world.Running`."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise TimeoutError
        return code

    def send_signal(self, number: int, /) -> None:
        os.kill(self._process.pid, number)


def fork(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> _Forked:
    """Start ``callstream`` with these arguments in a process that is forked."""
    log.touch()
    process = _CONTEXT.Process(target=_run, args=(tuple(arguments), str(log), dict(environment)))
    process.start()
    return _Forked(process)


def _run(arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    os.environ.update(environment)
    sys.argv = ["callstream", *arguments]
    from streams.cli import main

    main()
