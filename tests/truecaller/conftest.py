"""A server that does with a connection exactly what a test says, and a client whose patience is short."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streams.truecaller.client import ClientOptions, TruecallerClient

# Loading the authorities costs more than a test.
TLS = ssl.create_default_context()

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """``connections`` were accepted, ``requests`` are the heads that scripts read."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serve(script: Script, **options: Any) -> AsyncIterator[RawServer]:
    """Run ``script`` for every connection; its connection is closed when it returns or the test is over."""
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await script(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            running.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, limit=64 * 1024 * 1024, **options)
    server = RawServer(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(content_length(head))


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def answer(status: int, body: bytes = b"", *headers: bytes, length: int | None = None) -> bytes:
    """One HTTP answer; ``length`` is announced instead of the true one."""
    lines = [b"HTTP/1.1 %d Anything" % status, b"Content-Length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join([*lines, *headers, b"", body])


def answering(reply: bytes) -> Script:
    """Read each request, then write ``reply``, on one connection for as long as the client likes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(reply)
            await writer.drain()

    return script


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def self_signed(directory: Path, *, address: str = "127.0.0.1", days: int = 1) -> tuple[Path, ssl.SSLContext]:
    """A certificate for ``address`` that ends in so many days, and a server context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    public = directory / "cert.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return public, context


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., TruecallerClient]]:
    """``client_of(url, deadline_s=0.25, **options)``: a client that is closed with the test."""
    clients: list[TruecallerClient] = []

    def make(
        url: str, *, deadline_s: float = 0.25, observe: Any = None, observe_clock: Any = None, **options: Any
    ) -> TruecallerClient:
        options.setdefault("ssl_context", TLS)
        settings = ClientOptions(url, post_deadline_s=deadline_s, **options)
        clients.append(TruecallerClient(settings, observe, observe_clock))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()
