"""The proxy's weather, against sockets: what chaos believes of it must be so."""

import gc
import socket
import threading
from contextlib import suppress

import pytest

from tests.chaos.proxy import Proxy, Weather


@pytest.fixture
def echo():
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(taken):
            with taken, suppress(OSError):
                while piece := taken.recv(65536):
                    taken.sendall(piece)

        def serve():
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(taken,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy():
    with Proxy() as made:
        yield made


def connect(link):
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def read(taken, count):
    content = b""
    while len(content) < count:
        piece = taken.recv(count - len(content))
        assert piece, "closed"
        content += piece
    return content


def test_an_open_link_carries_everything_in_order(proxy, echo):
    sent = bytes(range(256)) * 4096
    with connect(proxy.link(echo)) as taken:
        threading.Thread(target=taken.sendall, args=(sent,)).start()
        assert read(taken, len(sent)) == sent


def test_a_cut_resets_what_is_open_and_refuses_what_is_new(proxy, echo):
    link = proxy.link(echo)
    with connect(link) as taken:
        taken.sendall(b"a")
        assert read(taken, 1) == b"a"
        proxy.become(link, Weather.CUT)
        with pytest.raises(ConnectionResetError):
            taken.recv(1)
    with pytest.raises(ConnectionResetError), connect(link) as taken:
        taken.recv(1)
    proxy.become(link, Weather.OPEN)
    with connect(link) as taken:
        taken.sendall(b"b")
        assert read(taken, 1) == b"b"


@pytest.mark.parametrize("weather", [Weather.SILENT, Weather.DEAF])
def test_silence_keeps_connections_and_what_was_sent_comes_after_it(proxy, echo, weather):
    link = proxy.link(echo)
    with connect(link) as taken:
        proxy.become(link, weather)
        taken.sendall(b"later")
        taken.settimeout(0.2)
        with pytest.raises(TimeoutError):
            taken.recv(1)
        taken.settimeout(5)
        proxy.become(link, Weather.OPEN)
        assert read(taken, 5) == b"later"


def test_the_end_of_a_connection_is_carried_too(proxy, echo):
    with connect(proxy.link(echo)) as taken:
        taken.sendall(b"last")
        taken.shutdown(socket.SHUT_WR)
        assert read(taken, 4) == b"last"
        assert taken.recv(1) == b""


def test_nothing_stays_open_when_it_ends_with_connections(echo):
    with Proxy() as proxy:
        link = proxy.link(echo)
        taken = [connect(link) for _ in range(20)]
        for each in taken:
            each.sendall(b"a")
            assert read(each, 1) == b"a"
        proxy.become(link, Weather.SILENT)
    for each in taken:
        with each, suppress(ConnectionResetError):
            assert each.recv(1) == b""
    # What was not closed would say so now, and a warning is an error.
    gc.collect()
