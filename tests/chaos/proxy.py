"""A TCP proxy whose network can be cut: between a worker and Kafka, or between a worker and the API.

One thread and one event loop for all links. What must stay true: a link that is mended carries on where it stopped, or
its connections are gone, as after a real outage; bytes are never lost, doubled or reordered inside a connection.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

T = TypeVar("T")

_PIECE_BYTES = 64 * 1024
# Sends RST instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


class Weather(StrEnum):
    """How a link behaves."""

    OPEN = "open"
    CUT = "cut"  # connections are reset, new ones are refused at once
    SILENT = "silent"  # nothing gets through, nobody is told: a cable that was pulled
    DEAF = "deaf"  # requests get through, answers do not


@dataclass(eq=False, slots=True)
class Link:
    """One listening port on loopback, and where its connections go. Its methods are for any thread."""

    target_port: int
    port: int = 0
    weather: Weather = Weather.OPEN
    refused: int = 0
    _forward: asyncio.Event = field(default_factory=asyncio.Event)
    _backward: asyncio.Event = field(default_factory=asyncio.Event)
    _sockets: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._forward.set()
        self._backward.set()

    def become(self, weather: Weather) -> None:
        """Change the weather. On the proxy's loop: see :meth:`Proxy.become`."""
        self.weather = weather
        for event, open_now in (
            (self._forward, weather is not Weather.SILENT),
            (self._backward, weather not in {Weather.SILENT, Weather.DEAF}),
        ):
            event.set() if open_now else event.clear()
        if weather is Weather.CUT:
            for writer in list(self._sockets):
                _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until one end closes it."""
        if self.weather is Weather.CUT:
            self.refused += 1
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        ends = {writer, far_writer}
        self._sockets |= ends
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_carry(reader, far_writer, self._forward))
                ways.create_task(_carry(far_reader, writer, self._backward))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._sockets -= ends
            for end in ends:
                end.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        await gate.wait()
        writer.write(piece)
        await writer.drain()
    await gate.wait()
    if writer.can_write_eof():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    taken: socket.socket | None = writer.get_extra_info("socket")
    if taken is not None and taken.fileno() >= 0:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


class Proxy:
    """Links, in a thread of their own. Use as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def link(self, target_port: int) -> Link:
        """Listen on a free port of loopback for connections to ``target_port``."""
        return self._call(self._open(target_port))

    def become(self, link: Link, weather: Weather) -> None:
        """Change the weather of a link, and wait until it has changed."""

        async def change() -> None:
            link.become(weather)

        self._call(change())

    async def _open(self, target_port: int) -> Link:
        link = Link(target_port)
        server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
        link.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        return link

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Transports that were closed say good-bye in the next turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
