"""A deployment in small: topics of its own, a fake API and workers as real processes, and a supervisor.

What must stay true: every process started here is ended here; nothing waits longer than it is told.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import orjson
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from scripts.kafka import free_port
from streams import failpoint
from streams.contracts.exits import ExitCode
from streams.kafka import topics
from streams.kafka.client_config import KafkaOptions
from streams.kafka.leaders import Leaders
from streams.kafka.offsets import LATEST
from streams.sandbox.accounts import SyntheticAccount, synthetic_accounts
from streams.sandbox.dialer import Dialer
from streams.sandbox.publisher import Publisher

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 6
# Only closed segments are compacted.
UNCOMPACTED = topics.Wanted(str(24 * 60 * 60 * 1000))
# A start or a rebalance takes a few seconds; several times that where the machine has other things to do.
SOON_S = 60
RESTART = (ExitCode.CRASH, ExitCode.WATCHDOG)

T = TypeVar("T")


def until(condition: Callable[[], T], timeout_s: float, what: Callable[[], str] | str) -> T:
    """Wait until ``condition`` returns something true, and return that."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        told = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {told}"
        time.sleep(0.05)
    return found


def log_ends(bootstrap: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """High watermarks, transactions that are still open included."""
    asked = {TopicPartition(topic, partition): LATEST for partition in partitions}
    # The client must outlive its answers.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    Leaders(admin, 10).learn([topic])
    answers = admin.list_offsets(asked, request_timeout=10)
    return {where.partition: answer.result(20).offset for where, answer in answers.items()}


class Running(Protocol):
    """A process that was started: what we use of :class:`subprocess.Popen`."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...


def spawn(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Running:
    """Start ``callstream`` with these arguments in a new interpreter."""
    # Its own session: a Ctrl-C in the terminal is pytest's, which ends this one in order.
    with log.open("ab") as out:
        command = [sys.executable, "-m", "streams", *arguments]
        variables = os.environ | environment
        return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=out, stderr=out, start_new_session=True)


Launch = Callable[[Sequence[str], Path, Mapping[str, str]], Running]


class Process:
    """One process of ours. What it says goes to files, stderr and stdout together."""

    def __init__(
        self, log: Path, *arguments: str, environment: Mapping[str, str] | None = None, launch: Launch = spawn
    ) -> None:
        self.log = log
        self._popen = launch(arguments, log, environment or {})

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The log lines of these events."""
        found = []
        for line in self.said().splitlines():
            with suppress(orjson.JSONDecodeError):
                entry = orjson.loads(line)
                if isinstance(entry, dict) and entry.get("event") in names:
                    found.append(entry)
        return found

    @property
    def code(self) -> int | None:
        return self._popen.poll()

    def signal(self, number: int) -> None:
        if self.code is None:
            self._popen.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        try:
            return self._popen.wait(timeout_s)
        except (subprocess.TimeoutExpired, TimeoutError):
            raise AssertionError(f"still running after {timeout_s:g} s; it said:\n{self.said()[-2000:]}") from None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._popen.wait()


class Worker(Process):
    """``callstream worker``."""

    def __init__(
        self, log: Path, config: Path, metrics_port: int, failpoints: str = "", launch: Launch = spawn
    ) -> None:
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        variables = {failpoint.VARIABLE: failpoints}
        super().__init__(log, "worker", "--config", str(config), environment=variables, launch=launch)

    def metrics(self) -> str:
        """What ``/metrics`` says; empty while nobody listens."""
        with suppress(OSError), urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
            return str(answer.read(), "utf-8")
        return ""

    def assigned(self) -> int:
        """Partitions that the group gave it, of intents and parcels together, as its metrics say."""
        counts = re.findall(r"^callstream_partitions_assigned\{.*\} (\d+)", self.metrics(), re.MULTILINE)
        return sum(map(int, counts))

    def owned(self) -> set[int]:
        """Partitions of the parcels that it owns now, as its log says."""
        owned: set[int] = set()
        for event in self.events("partition_taken_over", "partitions_handed_over", "partitions_lost"):
            if event["event"] == "partition_taken_over":
                owned.add(event["partition"])
            else:
                owned.difference_update(event["partitions"])
        return owned


class World:
    """Topics, configuration and processes of one deployment at ``bootstrap``."""

    def __init__(
        self, bootstrap: str, directory: Path, *, accounts: int = 10, policy: str = "retry", **settings: Any
    ) -> None:
        self.bootstrap = bootstrap
        self.directory = directory
        self.accounts: tuple[SyntheticAccount, ...] = synthetic_accounts(accounts, seed=7)
        self.ledger = directory / "ledger.ndjson"
        self.processes: list[Process] = []
        self.crashes: list[dict[int, int]] = []
        self.published = 0
        self._policy = policy
        self._ledger_read = 0
        self._ledger_lines: list[dict[str, Any]] = []
        self._dialer = Dialer(self.accounts, seed=7)
        self._settings = settings
        self.group = f"e2e-{uuid.uuid4().hex[:10]}"
        self.topics = {
            name: f"{name}-{self.group}"
            for name in ("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")
        }
        self.api_url = ""
        self.launch: Launch = spawn
        self.patience_s = 30.0

    # -- before

    def make_topics(self, *, without: str = "", partitions: int = PARTITIONS) -> Self:
        """Create the topics as ``callstream topics apply`` does, but for the one that is missed.

        Nothing of a journal is compacted: all that it ever said is evidence.
        """
        specs = topics.topic_specs(**self.topics, partitions=partitions)
        wanted = [
            replace(spec, config={**spec.config, "segment.ms": UNCOMPACTED})
            if spec.name == self.topics["journal"]
            else spec
            for spec in specs
            if spec.name != self.topics.get(without)
        ]
        topics.apply(AdminClient({"bootstrap.servers": self.bootstrap}), wanted)
        return self

    def config(self, instance: str, protocol: str, port: int, **changes: Any) -> Path:
        """Write the configuration of one worker."""
        credentials = [
            {"id": each.id, "key_id": each.key_id, "api_key": each.api_key, "policy": self._policy}
            for each in self.accounts
        ]
        settings: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": self.bootstrap,
                "group_id": self.group,
                "instance": instance,
                "group_protocol": protocol,
                "session_timeout_s": 3,
                "partitions": PARTITIONS,
                "topics": self.topics,
            },
            "api": {"base_url": self.api_url},
            "accounts": credentials,
            "limits": {"requests_per_minute_per_token": 600, "token_mints_per_30_min": 1000},
            "metrics": {"host": "127.0.0.1", "port": port},
            "logging": {"format": "json"},
        }
        for name, value in (self._settings | changes).items():
            settings[name] = settings.get(name, {}) | value if isinstance(value, Mapping) else value
        path = self.directory / f"{instance}.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path

    # -- processes

    def start_api(
        self, *, limits: str = "off", status_delay_s: float = 0.5, faults: str = "", port: int = 0
    ) -> Process:
        """Run ``callstream fake-api`` until it listens, on a port of its own choice or on this one."""
        log = self.directory / f"fake-api{port or ''}.log"
        arguments = ["--port", str(port), "--ledger", str(self.ledger), "--limits", limits]
        api = Process(log, "fake-api", *arguments, "--status-delay-s", str(status_delay_s), "--faults", faults)
        self.processes.append(api)
        ready = until(lambda: api.events("fake_api_ready"), 20, "the fake API listens")
        self.api_url = ready[0]["url"]
        return api

    def start_worker(self, instance: str, protocol: str = "consumer", failpoints: str = "", **changes: Any) -> Worker:
        """Run ``callstream worker``, without waiting for it."""
        port = free_port()
        number = sum(isinstance(each, Worker) for each in self.processes)
        config = self.config(instance, protocol, port, **changes)
        worker = Worker(self.directory / f"{instance}-{number}.log", config, port, failpoints, self.launch)
        self.processes.append(worker)
        return worker

    def ask(self, instance: str, *arguments: str) -> Any:
        """Run an operator's command with the configuration of a worker; returns the JSON object that it prints."""
        command = [sys.executable, "-m", "streams", *arguments, "--json", "--config"]
        done = subprocess.run(
            [*command, str(self.directory / f"{instance}.yaml")],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.returncode, done.stderr.decode())
        return orjson.loads(done.stdout)

    def kill(self, worker: Worker) -> None:
        """End a worker as a power cut would, and note where the journal stood."""
        worker.kill()
        self.note_crash()

    def note_crash(self) -> None:
        """An owner of lanes has just ended without handing over: remember where the journal ends now."""
        self.crashes.append(log_ends(self.bootstrap, self.topics["journal"], range(PARTITIONS)))

    @contextmanager
    def supervised(self, *instances: str, protocol: str = "consumer") -> Iterator["Supervisor"]:
        """Workers that are started again when they end with 1 or 70."""
        supervisor = Supervisor(self, instances, protocol)
        try:
            yield supervisor
        finally:
            supervisor.stop()

    def end(self) -> None:
        for process in self.processes:
            process.signal(signal.SIGCONT)
            process.kill()

    # -- load

    def publish(self, count: int) -> None:
        """Write intents, about one in a hundred of them bad, and wait until the broker has them."""
        with self._sending(self._new_publisher()) as send:
            send(count)

    @contextmanager
    def load(self, per_s: int) -> Iterator[None]:
        """Publish at this rate, in a thread, until the end; if that is an exception, nothing is waited for."""
        over = threading.Event()
        publisher = self._new_publisher()

        def run() -> None:
            with self._sending(publisher) as send:
                while not over.wait(0.1):
                    send(per_s // 10)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        except BaseException:
            publisher.give_up()
            raise
        finally:
            over.set()
            thread.join()

    def _new_publisher(self) -> Publisher:
        options = KafkaOptions(self.bootstrap, self.group, "publish")
        return Publisher(options, self.topics["intents"], self.patience_s)

    @contextmanager
    def _sending(self, publisher: Publisher) -> Iterator[Callable[[int], None]]:
        def send(count: int) -> None:
            for start in range(0, count, 1000):
                for dialed in self._dialer.take(min(1000, count - start), time.time_ns() // 1_000_000):
                    publisher.send(dialed.value)
            publisher.wait(0)
            self.published += count

        yield send
        publisher.close()
        assert publisher.given_up or not publisher.failed, publisher.failed

    def ledger_lines(self) -> list[dict[str, Any]]:
        """The requests that the fake API has written down so far."""
        if self.ledger.exists():
            with self.ledger.open("rb") as ledger:
                ledger.seek(self._ledger_read)
                for line in ledger:
                    if not line.endswith(b"\n"):
                        break
                    self._ledger_read += len(line)
                    entry = orjson.loads(line)
                    if entry["event"] == "request":
                        self._ledger_lines.append(entry)
        return self._ledger_lines

    def called_s(self) -> float:
        """CLOCK_MONOTONIC of the latest request that the API saw."""
        return max((line["received_mono"] for line in self.ledger_lines()), default=0.0)

    def applied(self) -> int:
        """How many records the API has taken."""
        return sum(line["count"] for line in self.ledger_lines() if line.get("applied") and line["kind"] == "post")


class Supervisor:
    """Starts workers, and starts them again, as Kubernetes would (without its back-off)."""

    def __init__(self, world: World, instances: tuple[str, ...], protocol: str) -> None:
        self.codes: list[int] = []
        self.running: dict[str, Worker] = {}
        self._world = world
        self._protocol = protocol
        self._over = threading.Event()
        for instance in instances:
            self.running[instance] = world.start_worker(instance, protocol)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for instance, worker in list(self.running.items()):
                code = worker.code
                if code is None:
                    continue
                self.codes.append(code)
                if code in RESTART:
                    self.running[instance] = self._world.start_worker(instance, self._protocol)
                else:
                    del self.running[instance]

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        for worker in self.running.values():
            worker.signal(signal.SIGTERM)
        for worker in self.running.values():
            self.codes.append(worker.wait(60))
