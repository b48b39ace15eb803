"""The port for scrapes and probes, over real sockets."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from streams.contracts.exits import ExitCode
from streams.telemetry import server as server_module
from streams.telemetry.health import STARTING, Health
from streams.telemetry.metrics import Metrics
from streams.telemetry.server import ListenError, TelemetryServer


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Served:
    def __init__(self, age_max_s: float = 5.0) -> None:
        self.clock = Clock()
        self.health = Health(self.clock)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, "1.2.3")
        self.server = TelemetryServer("127.0.0.1", 0, self.registry, self.health, age_max_s)
        self.port = self.server.start()

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
        finally:
            connection.close()

    def connect(self, first: bytes = b"") -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connected.sendall(first)
        return connected


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    yield one
    one.server.stop()


def test_metrics_come_in_the_format_that_is_asked_for(served):
    served.metrics.intents.labels("valid").inc(7)

    status, content_type, body = served.get("/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert 'callstream_intents_total{result="valid"} 7.0' in body

    _, content_type, body = served.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


@pytest.mark.faults("F87")
def test_liveness_follows_the_beat(served):
    assert served.get("/livez")[0] == 200

    served.clock.now_s = 31
    status, _, body = served.get("/livez")

    assert (status, body) == (503, "the event loop has not turned for 31 s\n")


def test_readiness_says_why_not(served):
    served.health.hold("draining")
    assert served.get("/readyz") == (503, "text/plain; charset=utf-8", "not ready: starting\nnot ready: draining\n")

    served.health.release(STARTING)
    served.health.release("draining")

    assert served.get("/readyz")[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        pytest.param("/", "GET", 404, id="root"),
        pytest.param("/metrics/../etc/passwd", "GET", 404, id="path"),
        pytest.param("/metrics", "POST", 501, id="POST"),
        pytest.param("/livez?verbose", "GET", 200, id="query"),
        pytest.param("/livez", "HEAD", 200, id="HEAD"),
    ],
)
def test_there_is_nothing_else(served, path, method, status):
    assert served.get(path, method)[0] == status


def test_a_port_that_is_taken_is_an_error_for_the_operator(served):
    with pytest.raises(
        ListenError, match=rf"metrics.port: cannot listen on 127.0.0.1:{served.port} \(Address"
    ) as raised:
        TelemetryServer("127.0.0.1", served.port, served.registry, served.health).start()

    assert raised.value.exit_code == ExitCode.USAGE


def test_a_port_can_be_used_again_after_a_stop(served):
    served.server.stop()
    again = TelemetryServer("127.0.0.1", served.port, served.registry, served.health)

    assert again.start() == served.port
    again.stop()
    again.stop()


@pytest.mark.faults("F93")
def test_it_answers_while_others_say_nothing():
    served = Served(age_max_s=600)
    silent = [served.connect(b"GET /livez HTTP/1.1\r\n") for _ in range(3 * server_module.CONNECTIONS_MAX)]

    assert served.get("/livez")[0] == 200
    assert silent[0].recv(1) == b"", "the oldest gave way"
    for connected in silent:
        connected.close()
    served.server.stop()


@pytest.mark.faults("F93")
def test_a_connection_that_dribbles_is_ended():
    served = Served(age_max_s=0.01)
    dribbling = served.connect(b"GET /livez HTTP/1.1\r\nX: ")

    assert dribbling.recv(1) == b""

    dribbling.close()
    served.server.stop()


@pytest.mark.faults("F93")
def test_threads_end_with_their_connections(served):
    for _ in range(20):
        served.get("/livez")

    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(5)
            assert not thread.is_alive()
