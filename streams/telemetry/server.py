"""The HTTP port of a worker: ``/metrics``, ``/livez``, ``/readyz``. Read only, on threads of its own.

It answers while the event loop is blocked, which is when it is needed most. What must stay true: whatever clients do,
threads and time are bounded and a probe gets through: a connection lives 5 seconds at most, and where there are too
many the oldest gives way.
"""

import contextlib
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from streams.contracts.exits import OperatorError
from streams.telemetry.health import Health

CONNECTIONS_MAX = 16
CONNECTION_AGE_MAX_S = 5.0
_SWEEP_PERIOD_S = 0.25

_TEXT = "text/plain; charset=utf-8"


class ListenError(OperatorError):
    """The port cannot be listened on."""


class TelemetryServer:
    """Serves a registry and a health on ``host:port``; port 0 takes a free one."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Health,
        connection_age_max_s: float = CONNECTION_AGE_MAX_S,
    ) -> None:
        self._address = (host, port)
        self._registry = registry
        self._health = health
        self._age_max_s = connection_age_max_s
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen, and return the port. Raises :class:`ListenError` where it is taken or not ours."""
        host, port = self._address
        try:
            self._server = _Server(self._address, self._registry, self._health, self._age_max_s)
        except OSError as error:
            raise ListenError(
                f"metrics.port: cannot listen on {host}:{port} ({error.strerror or error});"
                " set another metrics.port or metrics.host, or stop what uses it"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_SWEEP_PERIOD_S,), name="telemetry", daemon=True
        )
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening and hang up on whoever is connected. Does nothing if it never started."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health, age_max_s: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        self.health = health
        self._age_max_s = age_max_s
        # Connections being served and since when, oldest first.
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Make room for the newest connection, then serve it on a thread."""
        with self._lock:
            while len(self._open) >= CONNECTIONS_MAX:
                self._hang_up(next(iter(self._open)))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that was served."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hang up on connections that are too old, however lively they are."""
        started_before_s = time.monotonic() - self._age_max_s
        with self._lock:
            for request in [each for each, since_s in self._open.items() if since_s < started_before_s]:
                self._hang_up(request)

    def server_close(self) -> None:
        """Close the port and every connection."""
        super().server_close()
        with self._lock:
            for request in list(self._open):
                self._hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no event."""

    def _hang_up(self, request: socket.socket) -> None:
        """Wake the thread that serves it; the thread closes it."""
        self._open.pop(request, None)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # The name of the product is enough; versions of the interpreter are nobody's business.
    server_version = "callstream"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a scrape or a probe."""
        match self.path.partition("?")[0]:
            case "/metrics":
                encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, encoder(self.server.registry), content_type)
            case "/livez":
                self._answer(*_liveness(self.server.health))
            case "/readyz":
                self._answer(*_readiness(self.server.health))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"/metrics, /livez and /readyz are here\n")

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a probe every second is no event."""


def _liveness(health: Health) -> tuple[HTTPStatus, bytes]:
    if health.live():
        return HTTPStatus.OK, b"live\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, b"the event loop has not turned for %d s\n" % health.beat_age_s()


def _readiness(health: Health) -> tuple[HTTPStatus, bytes]:
    reasons = health.reasons()
    if not reasons:
        return HTTPStatus.OK, b"ready\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"not ready: {reason}\n" for reason in reasons).encode()
