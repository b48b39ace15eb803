"""The fake's HTTP server: reads a request whole, lets ``api`` answer, writes the ledger.

aiohttp's low-level server, without routes and middleware: benches compare workers against it, so a POST of 500 records
has to cost a few milliseconds. A handler runs from the end of the body to the ledger line without giving way, so what
is applied is written down whatever becomes of the connection.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web

from streams.sandbox.fake_api.api import Api, Call, Credentials, FakeStats, Limits, Reply
from streams.sandbox.fake_api.clock import Clock, Moment, SystemClock
from streams.sandbox.fake_api.faults import Effect, FaultPlan
from streams.sandbox.fake_api.ledger import Ledger, LedgerError

# 500 records whose texts are all escaped Unicode are about 1 MB.
BODY_BYTES_MAX: Final = 4 * 1024 * 1024
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeOptions:
    """How a fake behaves. ``port`` 0 takes a free one; ``accounts`` ``None`` lets any account in, with any key."""

    host: str = "127.0.0.1"
    port: int = 0
    ledger: Path | None = None
    limits: Limits = "strict"
    status_delay_s: float = 5.0
    faults: FaultPlan = field(default_factory=FaultPlan)
    seed: int = 0
    accounts: Mapping[str, Credentials] | None = None
    strict_labels: bool = False
    clock: Clock = field(default_factory=SystemClock)


class FakeTruecaller:
    """A fake Truecaller in this process. Raises ``OSError`` where the port is taken or the ledger cannot be written."""

    def __init__(self, options: FakeOptions) -> None:
        self._options = options
        self._clock = options.clock
        self._api = Api(
            options.faults,
            self._clock.now(),
            seed=options.seed,
            limits=options.limits,
            status_delay_s=options.status_delay_s,
            accounts=options.accounts,
            strict_labels=options.strict_labels,
        )
        self._ledger = Ledger(options.ledger)
        self._stopping = asyncio.Event()
        self._broken = asyncio.Event()
        self._error: LedgerError | None = None
        self._runner = web.ServerRunner(
            # A client that goes away ends its handler: one that hangs on purpose must not live for ever.
            web.Server(self._handle, access_log=None, handler_cancellation=True),
            shutdown_timeout=_STOP_S,
        )

    async def start(self) -> str:
        """Begin to listen; return the base URL."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.host, self._options.port).start()
        now = self._clock.now()
        self._ledger.write(
            {
                "event": "start",
                "at": now.wall_s,
                "mono": now.mono_s,
                "limits": self._options.limits,
                "seed": self._options.seed,
                "status_delay_s": self._options.status_delay_s,
            }
        )
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Answer what is being answered, drop what hangs, close the ledger."""
        self._stopping.set()
        await self._runner.cleanup()
        self._ledger.close()

    def stats(self) -> FakeStats:
        """Return the counts since the start, kept up to date."""
        return self._api.stats

    async def failed(self) -> LedgerError:
        """Wait until the ledger cannot be written any more; return why. From then on nothing is answered."""
        await self._broken.wait()
        assert self._error is not None
        return self._error

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handled(request)
        except LedgerError as error:
            # What is not written down must not be answered: an audit would find what nobody was told of.
            self._error = error
            self._broken.set()
            _reset(request.transport)
            return web.Response(status=HTTPStatus.INSUFFICIENT_STORAGE)

    async def _handled(self, request: web.BaseRequest) -> web.StreamResponse:
        received = self._clock.now()
        body = await self._body(request, received)
        if body is None:
            return web.Response(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        reply = self._api.handle(Call(request.method, request.path, request.query, request.headers, body, received))
        answered = reply.effect in (Effect.ANSWER, Effect.EMPTY)
        self._write(reply.entry, received, reply.status if answered else None, reply.records)
        return await self._answer(request, reply)

    async def _body(self, request: web.BaseRequest, received: Moment) -> bytes | None:
        """Read the body; ``None`` if it is too large. One that never comes whole is written down as cut."""
        try:
            content = bytearray()
            async for piece in request.content.iter_any():
                content += piece
                if len(content) > BODY_BYTES_MAX:
                    self._write({"flaw": "too_large"}, received, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    return None
        except (asyncio.CancelledError, OSError, aiohttp.ClientError, aiohttp.http.HttpProcessingError):
            self._write({"flaw": "cut"}, received, None)
            raise
        return bytes(content)

    def _write(
        self, entry: Mapping[str, Any], received: Moment, status: int | None, records: list[Any] | None = None
    ) -> None:
        answered = self._clock.now()
        line = {
            "event": "request",
            "kind": None,
            "account": None,
            "token": None,
            "received_at": received.wall_s,
            "received_mono": received.mono_s,
            "answered_at": answered.wall_s,
            "answered_mono": answered.mono_s,
            "status": status,
            "applied": False,
            "fault": None,
            "over_limit": False,
            **entry,
        }
        if records is not None:
            line["records"] = records
        self._ledger.write(line)

    async def _answer(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        if reply.effect is Effect.EMPTY:
            return web.Response(status=reply.status)
        body = orjson.dumps(reply.body)
        headers = {} if reply.retry_after_s is None else {"Retry-After": f"{reply.retry_after_s:g}"}
        response = web.Response(status=reply.status, body=body, content_type="application/json", headers=headers)
        if reply.effect is Effect.ANSWER:
            return response
        if reply.effect is Effect.HANG:
            await self._stopping.wait()
        elif reply.effect is Effect.CUT:
            return await self._cut(request, response, body)
        _reset(request.transport)
        return response

    async def _cut(self, request: web.BaseRequest, response: web.Response, body: bytes) -> web.StreamResponse:
        half = web.StreamResponse(status=response.status, headers=response.headers)
        half.content_length = len(body)
        half.force_close()
        await half.prepare(request)
        await half.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return half


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None:
        return
    # To close with nothing left to linger for sends RST instead of FIN.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
