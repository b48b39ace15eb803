"""A real Apache Kafka on this machine: for the tests, and for a reader who has none.

    uv run python scripts/kafka.py --port 9092

One node or three (KRaft, broker and controller in one process, loopback only), from the jars on Maven Central, kept
under ``build/kafka/``. Needs Java 17 or newer, and Maven for the first run. The tests use :class:`Cluster`, whose nodes
can be stopped, killed, frozen and started again. What must stay true: a process started here ends with the one that
started it, and a missing Java or Maven is an error that says what to install.
"""

import argparse
import ctypes
import fcntl
import hashlib
import os
import random
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent / "broker"
BUILD = ROOT / "build" / "kafka"
RELEASE = "4.3.1"
# Since 4.3.0 a transaction coordinator writes no commit marker for a partition that has no leader, and calls the
# transaction complete (KAFKA-20734, in 4.4.0 too): what was committed is open, and its offsets are lost. A node that is
# stopped or frozen as the only replica makes that happen, so where a test does this, it takes the release before.
RELEASE_FOR_OUTAGES = "4.2.1"
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
JAVA_OPTIONS = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
)
READY_LINE = b"Kafka Server started"
PR_SET_PDEATHSIG = 1


class KafkaUnavailableError(RuntimeError):
    """Kafka cannot be started here; the message says what to do."""


def java() -> str:
    """Path of the ``java`` to use: ``JAVA_HOME`` first, then ``PATH``."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    if found is None:
        message = (
            "A real Apache Kafka needs Java 17 or newer, and there is no `java` here. Install it "
            "(Debian/Ubuntu: apt-get install openjdk-17-jre-headless maven; macOS: brew install openjdk maven), "
            "or set CALLSTREAM_TEST_BOOTSTRAP to the address of a running Kafka for the tests."
        )
        raise KafkaUnavailableError(message)
    return found


def jars(release: str = RELEASE) -> Path:
    """Directory with the broker's jars, fetched with Maven when the pom changed. One process at a time fetches."""
    pom = HERE / "pom.xml"
    libs = BUILD / f"libs-{release}"
    stamp = BUILD / f"libs-{release}.sha256"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "libs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest and any(libs.glob("kafka_*.jar")):
            return libs
        shutil.rmtree(libs, ignore_errors=True)
        _fetch(pom, release, libs)
        stamp.write_text(digest)
    return libs


def _fetch(pom: Path, release: str, libs: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        message = (
            "The jars of Apache Kafka are fetched with Maven, and there is no `mvn` here. Install it "
            "(Debian/Ubuntu: apt-get install maven; macOS: brew install maven), "
            "or set CALLSTREAM_TEST_BOOTSTRAP to the address of a running Kafka for the tests."
        )
        raise KafkaUnavailableError(message)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
    command = [maven, "-q", "-B", "-ntp", "-f", str(pom), f"-Dkafka.release={release}", *goal]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        message = f"Maven could not fetch Apache Kafka (exit {done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}"
        raise KafkaUnavailableError(message)


def free_port() -> int:
    """Free loopback port below the range from which the system takes the ports of outgoing connections."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    message = "no free port between 20000 and 30000"
    raise KafkaUnavailableError(message)


def _end_with_parent() -> None:
    # A test run that is killed must not leave brokers behind. Linux only; elsewhere stop() alone does it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Node:
    """One KRaft node, broker and controller in one process. Its data survive :meth:`stop` and :meth:`kill`."""

    number: int
    port: int
    controller_port: int
    directory: Path
    release: str
    process: subprocess.Popen[bytes] | None = None
    _ready_from: int = 0

    @property
    def log(self) -> Path:
        """File with everything the node printed."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start the process, without waiting for it to be ready."""
        command = [
            java(),
            *JAVA_OPTIONS,
            f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
            *("-cp", f"{jars(self.release)}/*", "kafka.Kafka", str(self.directory / "server.properties")),
        ]
        self._ready_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches the starter alone, who then stops the node in order.
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of ours matters
            )

    @property
    def ready(self) -> bool:
        """Whether it has come up since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._ready_from)
            return READY_LINE in log.read()

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the node serves. A node that died or is too slow is an error that carries the end of its log."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self.ready:
                return
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-3000:]
                message = f"Kafka node {self.number} on port {self.port} did not become ready; its log ends:\n{tail}"
                raise KafkaUnavailableError(message)
            time.sleep(0.05)

    def stop(self) -> None:
        """End the node in order (SIGTERM), by force after 20 s."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End the node at once (SIGKILL), as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Stop in order, start again, wait until it serves."""
        self.stop()
        self.start()
        self.wait_ready()

    def pause(self) -> None:
        """Freeze the node (SIGSTOP): connections stay open, nothing answers."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen node go on (SIGCONT)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)


@dataclass
class Cluster:
    """One or three nodes on loopback. Use as a context manager, or :meth:`start` and :meth:`stop`.

    ``port`` is the first node's (the next nodes follow it), ``None`` takes free ones. ``directory`` ``None`` is a new
    one under ``build/kafka/`` that is removed at the end; a given one is kept and used again. ``session_timeout_s`` is
    the KIP-848 session (Kafka's own default is 45 s; tests that kill and freeze workers want it short, at least 6 s).
    ``properties`` are added to every node's ``server.properties``. ``outside`` adds listeners under other names: for
    each node the port it listens on and the port it tells clients, as where a proxy stands in between. ``release`` is
    Apache Kafka's.
    """

    size: int = 1
    port: int | None = None
    directory: Path | None = None
    session_timeout_s: float = 6.0
    properties: dict[str, str] = field(default_factory=dict)
    outside: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    release: str = RELEASE
    nodes: list[Node] = field(default_factory=list, init=False)
    _cleanup: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def bootstrap(self) -> str:
        """Value for ``bootstrap.servers``."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        """Format what is new, start all nodes, wait until all serve."""
        java()
        jars(self.release)
        base = self.directory
        if base is None:
            BUILD.mkdir(parents=True, exist_ok=True)
            base = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
            self._cleanup.callback(shutil.rmtree, base, ignore_errors=True)
        for index in range(self.size):
            port = free_port() if self.port is None else self.port + index
            self.nodes.append(Node(index + 1, port, free_port(), base / f"node-{index + 1}", self.release))
        cluster_id = "".join(secrets.choice(string.ascii_letters) for _ in range(22))
        try:
            for node in self.nodes:
                self._prepare(node, cluster_id)
                node.start()
            for node in self.nodes:
                node.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all nodes; data in a directory of our own are removed."""
        for node in self.nodes:
            # Together, so that nobody waits for a quorum that is already gone.
            node.resume()
            if node.process is not None:
                node.process.terminate()
        for node in self.nodes:
            node.stop()
        self.nodes.clear()
        self._cleanup.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _prepare(self, node: Node, cluster_id: str) -> None:
        node.directory.mkdir(parents=True, exist_ok=True)
        settings = node.directory / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._server_properties(node).items()))
        if (node.directory / "data" / "meta.properties").exists():
            return
        command = [
            java(),
            "-Xmx64m",
            "-cp",
            f"{jars(self.release)}/*",
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster_id,
        ]
        command += ["-c", str(settings), *(["--standalone"] if self.size == 1 else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            message = f"Kafka could not format its directory (exit {done.returncode}):\n{done.stdout}{done.stderr}"
            raise KafkaUnavailableError(message)

    def _server_properties(self, node: Node) -> dict[str, str]:
        replicas = str(min(3, self.size))
        in_sync = "2" if self.size > 1 else "1"
        session_ms = str(int(self.session_timeout_s * 1000))
        heartbeat_ms = str(min(5000, int(self.session_timeout_s * 1000 / 6)))
        voters = ",".join(f"{each.number}@127.0.0.1:{each.controller_port}" for each in self.nodes)
        quorum = (
            {"controller.quorum.bootstrap.servers": f"127.0.0.1:{node.controller_port}"}
            if self.size == 1
            else {"controller.quorum.voters": voters}
        )
        return {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            **quorum,
            **self._listeners(node),
            "log.dirs": str(node.directory / "data"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "2",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "num.recovery.threads.per.data.dir": "1",
            # A killed node is noticed after 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Takes 120 MiB of heap by default; one machine's topics need far less.
            "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
            "group.consumer.session.timeout.ms": session_ms,
            "group.consumer.min.session.timeout.ms": session_ms,
            "group.consumer.heartbeat.interval.ms": heartbeat_ms,
            "group.consumer.min.heartbeat.interval.ms": heartbeat_ms,
            **self.properties,
        }

    def _listeners(self, node: Node) -> dict[str, str]:
        ports = {name: of_nodes[node.number - 1] for name, of_nodes in self.outside.items()}
        ports["PLAINTEXT"] = (node.port, node.port)
        listeners = [f"{name}://127.0.0.1:{port}" for name, (port, _) in ports.items()]
        return {
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{node.controller_port}"]),
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{told}" for name, (_, told) in ports.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in ("CONTROLLER", *ports)),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a Kafka until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Run a real Apache Kafka on this machine until Ctrl-C.")
    parser.add_argument("--port", type=int, default=9092, help="port of the first node (default: 9092)")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="number of nodes (default: 1)")
    parser.add_argument(
        "--data", type=Path, help="directory to keep the data in (default: a new one, removed at the end)"
    )
    chosen = parser.parse_args(arguments)
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    cluster = Cluster(size=chosen.nodes, port=chosen.port, directory=chosen.data, session_timeout_s=45.0)
    try:
        with cluster:
            print(f"Apache Kafka is ready at {cluster.bootstrap} (Ctrl-C stops it)", flush=True)
            signal.sigwait(stop)
    except KafkaUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
