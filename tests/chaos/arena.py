"""Where chaos happens: a Kafka and an API behind a network of our own, three workers that are kept running, and load.

Each worker has its own way to every broker and to the API, so that one can be cut off alone. The harness has a way
around the network. What must stay true: everything that is taken away is given back by :meth:`Arena.heal`.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.kafka import RELEASE_FOR_OUTAGES, Cluster, Node, free_port
from tests.chaos.keeper import Keeper
from tests.chaos.proxy import Link, Proxy, Weather
from tests.chaos.schedule import Fault, Kind
from tests.e2e.world import PARTITIONS, Worker, World, until

WORKERS = ("worker-0", "worker-1", "worker-2")
QUICK = {
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
SESSION_S = 3.0
# Nothing here is classed as ambiguous and applied, so that what is applied twice has its cause in this process.
API_FAULTS = "429=0.01,401=0.002,check.500=0.005,check.reset=0.005,check.cut=0.01,check.502=0.01"
# Under the policy `hold` each of these would be a batch in doubt, with nothing that ended its owner.
AMBIGUOUS_FAULTS = ",post.500=0.005,post.reset=0.005"
READY_TIMEOUT_S = 60.0
# A fault waits so long for somebody to happen to; then it does not happen.
PATIENCE_S = 60.0
PUBLISHER_PATIENCE_S = 600.0

_WEATHER = {
    Kind.KAFKA_CUT: Weather.CUT,
    Kind.KAFKA_SILENCE: Weather.SILENT,
    Kind.KAFKA_DEAF: Weather.DEAF,
    Kind.API_CUT: Weather.CUT,
    Kind.API_SILENCE: Weather.SILENT,
}
_KAFKA_WEATHER = frozenset({Kind.KAFKA_CUT, Kind.KAFKA_SILENCE, Kind.KAFKA_DEAF})

Undo = Callable[[], None]


@dataclass(slots=True)
class Fired:
    """A fault that really happened, from and to (epoch seconds).

    ``partitions`` are those of the parcels whose owner it hit, ``victim`` says whom.
    """

    kind: Kind
    from_s: float
    to_s: float
    victim: str
    partitions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Plot:
    """What kind of run it is."""

    seconds: float
    seed: int
    protocol: str = "consumer"
    policy: str = "retry"
    brokers: int = 1
    rate: int = 300
    kafka_release: str = RELEASE_FOR_OUTAGES


@dataclass(eq=False, slots=True)
class Arena:
    """A running deployment and what can be done to it."""

    cluster: Cluster
    world: World
    proxy: Proxy
    keeper: Keeper
    kafka_links: Mapping[str, Sequence[Link]]
    api_links: dict[str, Link]
    fired: list[Fired] = field(default_factory=list)
    _undo: list[tuple[float, Fired, Undo]] = field(default_factory=list)
    _returning: list[Node] = field(default_factory=list)

    def wreak(self, faults: Sequence[Fault], watch: Callable[[], object]) -> None:
        """Let everything happen at its time; ``watch`` is called about four times a second meanwhile."""
        start_s = time.time()
        waiting = list(faults)
        while waiting or self._undo or self._returning:
            late_s = time.time() - start_s - (waiting[0].at_s if waiting else float("inf"))
            if late_s >= 0 and (self._begin(waiting[0]) or late_s > PATIENCE_S):
                waiting.pop(0)
            self._end_due(time.time())
            watch()
            time.sleep(0.05)

    def heal(self) -> None:
        """Give back everything that was taken away."""
        self._end_due(float("inf"))
        while self._returning:
            self._end_due(time.time())
            time.sleep(0.05)
        for worker in self.keeper.running.values():
            worker.signal(signal.SIGCONT)

    def owned(self, *instances: str) -> frozenset[int]:
        """The parcels partitions that these workers own now, as their logs say."""
        running = self.keeper.running
        return frozenset(partition for instance in instances for partition in running[instance].owned())

    def _end_due(self, now_s: float) -> None:
        due = [each for each in self._undo if each[0] <= now_s]
        self._undo = [each for each in self._undo if each[0] > now_s]
        for _, fired, undo in due:
            undo()
            fired.to_s = time.time()
        for node in [node for node in self._returning if node.ready]:
            assert node.process is not None
            assert node.process.poll() is None, f"broker {node.number} does not come back"
            self._returning.remove(node)
            say(f"broker {node.number} is back")

    def _begin(self, fault: Fault) -> bool:
        begun = self._of_broker(fault) if fault.kind.value.startswith("broker") else self._of_worker(fault)
        if begun is None:
            return False
        fired, undo = begun
        self.fired.append(fired)
        say(f"{fired.kind} of {fired.victim} for {fault.length_s:.1f} s")
        if undo is not None:
            self._undo.append((time.time() + fault.length_s, fired, undo))
        return True

    # -- workers

    def _of_worker(self, fault: Fault) -> tuple[Fired, Undo | None] | None:
        busy = {fired.victim for _, fired, _ in self._undo}
        free = [instance for instance in self.keeper.at_work() if instance not in busy]
        if not free:
            return None
        victim = free[int(fault.chance * len(free))]
        worker = self.keeper.running[victim]
        now_s = time.time()
        fired = Fired(fault.kind, now_s, now_s, victim, self.owned(victim))
        return fired, self._hit(fault, victim, worker)

    def _hit(self, fault: Fault, victim: str, worker: Worker) -> Undo | None:
        match fault.kind:
            case Kind.KILL:
                worker.signal(signal.SIGKILL)
            case Kind.TERM:
                worker.signal(signal.SIGTERM)
            case Kind.PAUSE:
                worker.signal(signal.SIGSTOP)
                return lambda: worker.signal(signal.SIGCONT)
            case kind:
                links = self.kafka_links[victim] if kind in _KAFKA_WEATHER else [self.api_links[victim]]
                self._weather(links, _WEATHER[kind])
                return lambda: self._weather(links, Weather.OPEN)
        return None

    def _weather(self, links: Sequence[Link], weather: Weather) -> None:
        for link in links:
            self.proxy.become(link, weather)

    # -- brokers

    def _of_broker(self, fault: Fault) -> tuple[Fired, Undo] | None:
        if self._returning or any(fired.kind.value.startswith("broker") for _, fired, _ in self._undo):
            return None
        nodes = self.cluster.nodes
        node = nodes[int(fault.chance * len(nodes))]
        now_s = time.time()
        fired = Fired(fault.kind, now_s, now_s, f"broker {node.number}", self.owned(*self.keeper.at_work()))
        if fault.kind is Kind.BROKER_PAUSE:
            node.pause()
            return fired, node.resume
        node.stop() if fault.kind is Kind.BROKER_RESTART else node.kill()

        def bring_back() -> None:
            node.start()
            self._returning.append(node)

        return fired, bring_back


@contextmanager
def arena(plot: Plot, directory: Path) -> Iterator[Arena]:
    """Build an arena with its files in ``directory``; all of it ends with the ``with``."""
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy())
        outside = {name: [free_port() for _ in range(plot.brokers)] for name in map(_listener, WORKERS)}
        links = {name: [proxy.link(port) for port in ports] for name, ports in outside.items()}
        told = {
            name: [(port, link.port) for port, link in zip(ports, links[name], strict=True)]
            for name, ports in outside.items()
        }
        cluster = stack.enter_context(
            Cluster(
                plot.brokers,
                directory=directory / "kafka",
                session_timeout_s=SESSION_S,
                properties=QUICK,
                outside=told,
                release=plot.kafka_release,
            )
        )
        world = World(cluster.bootstrap, directory, policy=plot.policy).make_topics()
        world.patience_s = PUBLISHER_PATIENCE_S
        stack.callback(world.end)
        world.start_api(faults=API_FAULTS + (AMBIGUOUS_FAULTS if plot.policy == "retry" else ""))
        api_port = int(world.api_url.rpartition(":")[2])
        api_links = {instance: proxy.link(api_port) for instance in WORKERS}
        kafka_links = {instance: links[_listener(instance)] for instance in WORKERS}

        def start(instance: str) -> Worker:
            bootstrap = ",".join(f"127.0.0.1:{link.port}" for link in kafka_links[instance])
            api = {"base_url": f"http://127.0.0.1:{api_links[instance].port}"}
            return world.start_worker(instance, plot.protocol, kafka={"bootstrap_servers": bootstrap}, api=api)

        keeper = stack.enter_context(Keeper(WORKERS, start))
        made = Arena(cluster, world, proxy, keeper, kafka_links, api_links)
        until(lambda: made.owned(*WORKERS) == set(range(PARTITIONS)), READY_TIMEOUT_S, "the workers own everything")
        yield made


def _listener(instance: str) -> str:
    return instance.replace("-", "").upper()


def say(text: str) -> None:
    """Tell whoever watches a run what happens, with the time."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
