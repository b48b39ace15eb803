"""A committer on virtual time: units in one queue, committed in groups, visible all at once or not at all.

The order is the real one: produce, send the offsets (which is where the broker looks at the membership), commit. What
may happen in between: the transaction is aborted and tried again, the answer to the commit is late, a call hangs.
"""

from collections import deque
from collections.abc import Callable

from tests.lane.simulation.audit import FRESH_S
from tests.lane.simulation.broker import Transaction, Unit
from tests.lane.simulation.surroundings import Surroundings
from tests.lane.simulation.virtual_time import Process
from tests.lane.simulation.weather import pick

FENCED, HANGS = "fenced", "a call hangs"

# A call that has not returned by then ends the process.
WATCHDOG_S = 20.0

RETRY_PAUSE_S = 1.0


class Committer:
    """``durable`` is called with the units of each commit, ``fenced`` when the process has to end."""

    def __init__(
        self,
        name: str,
        world: Surroundings,
        process: Process,
        durable: Callable[[list[Unit]], None],
        fenced: Callable[[str], None],
    ) -> None:
        self._name = name
        self._world = world
        self._time = world.time
        self._process = process
        self._rng = world.rng
        self._broker = world.broker
        self._durable = durable
        self._fenced = fenced
        self._queue: deque[Unit] = deque()
        self._running: Transaction | None = None
        self._scheduled = False
        self._stopped = False
        self._confirmed_s = float("-inf")

    @property
    def quiet(self) -> bool:
        return not self._queue and self._running is None

    @property
    def fresh(self) -> bool:
        """Whether a commit has confirmed the lease lately."""
        return self._time.now_s < self._confirmed_s + FRESH_S

    def submit(self, unit: Unit) -> None:
        self._queue.append(unit)
        if not self._scheduled:
            self._scheduled = True
            self._process.call_in(self._rng.choice([0.0, 0.02]), self._begin)

    def stop(self) -> None:
        """Nothing is done from here on. What was being committed may have made it."""
        if not self._stopped:
            self._stopped = True
            if self._running is not None and not self._running.ended:
                self._broker.orphan(self._running)

    # -- one transaction

    def _begin(self) -> None:
        count = self._rng.choice([1, 3, len(self._queue), len(self._queue)])
        self._try([self._queue.popleft() for _ in range(min(count, len(self._queue)))])

    def _try(self, units: list[Unit]) -> None:
        if self._stopped:
            return
        took_s = self._rng.uniform(*self._world.weather.commit_s)
        transaction = self._running = self._broker.produce(self._name, units)
        fault = pick(self._rng, self._world.weather.commits)
        if fault != "fair":
            self._world.audit.seen[f"commit {fault}"] += 1
        self._process.call_in(took_s * 0.3, lambda: self._send_offsets(transaction, fault, took_s))

    def _send_offsets(self, transaction: Transaction, fault: str, took_s: float) -> None:
        if self._stopped:
            return
        sent_s = self._time.now_s

        def arrive() -> None:
            accepted = fault != "aborted" and self._broker.check(transaction, sent_s)
            if fault == "hangs":
                self._process.call_in(WATCHDOG_S, lambda: self._fenced(HANGS))
            else:
                self._process.enter(lambda: self._checked(transaction, fault, took_s, accepted=accepted))

        self._time.call_in(took_s * 0.3, arrive)

    def _checked(self, transaction: Transaction, fault: str, took_s: float, *, accepted: bool) -> None:
        if self._stopped:
            return
        if accepted:
            self._time.call_in(took_s * 0.4, lambda: self._commit(transaction, fault))
            return
        if transaction.ended:
            self._fenced(FENCED)
            return
        self._broker.abort(transaction)
        self._process.call_in(self._rng.uniform(0.02, RETRY_PAUSE_S), lambda: self._try(transaction.units))

    def _commit(self, transaction: Transaction, fault: str) -> None:
        """The commit arrives at the broker, whatever has become of its producer."""
        if not self._broker.commit(transaction):
            self._process.enter(lambda: self._fenced(FENCED))
            return
        # Where the answer is lost, the commit is asked for again and again until somebody says that it has happened.
        answered_s = self._rng.uniform(0.1, 15.0) if fault == "unknown" else 0.0
        self._process.call_in(answered_s, lambda: self._committed(transaction))

    def _committed(self, transaction: Transaction) -> None:
        if self._stopped:
            return
        self._running = None
        self._confirmed_s = transaction.sent_s
        if self._queue:
            self._process.call_in(0.02, self._begin)
        else:
            self._scheduled = False
        self._durable(transaction.units)
