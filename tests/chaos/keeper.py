"""Keeps workers running, as Kubernetes does: one that ends is started again, and how each ended is written down.

What must stay true: whatever ends while nobody told it to is counted; nothing is started any more once it is over.
"""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from streams.contracts.exits import ExitCode
from tests.e2e.world import Worker

# By nature of the exit codes. A frozen one that wakes up may learn that it was replaced.
EXPECTED_CODES = frozenset({ExitCode.DONE, ExitCode.CRASH, ExitCode.WATCHDOG, -signal.SIGKILL})


@dataclass(slots=True)
class Ended:
    """A worker that ended: when (epoch seconds), with which code, and the parcels partitions that it still owned."""

    instance: str
    at_s: float
    code: int
    owned: frozenset[int]


@dataclass(eq=False, slots=True)
class Keeper:
    """Runs one worker for each instance. ``start`` starts one, by instance."""

    instances: tuple[str, ...]
    start: Callable[[str], Worker]
    running: dict[str, Worker] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        for instance in self.instances:
            self.running[instance] = self.start(instance)
        self._thread = threading.Thread(target=self._watch, name="keeper")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for instance, worker in self.running.items():
                code = worker.code
                if code is not None:
                    self.ended.append(Ended(instance, time.time(), code, frozenset(worker.owned())))
                    self.running[instance] = self.start(instance)

    def at_work(self) -> list[str]:
        """Instances whose worker runs and owns parcels partitions, in order."""
        return sorted(instance for instance, worker in self.running.items() if worker.code is None and worker.owned())

    def stop(self, timeout_s: float = 60.0) -> dict[str, int]:
        """Tell all to stop, and return how they ended."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        for worker in self.running.values():
            worker.signal(signal.SIGTERM)
        return {instance: worker.wait(timeout_s) for instance, worker in self.running.items()}
