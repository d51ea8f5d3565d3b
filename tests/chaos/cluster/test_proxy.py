"""The proxy carries bytes in calm weather, and does what is asked of it in any other."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.cluster.proxy import CALM, HOST, Proxy, Weather

PATIENCE_S = 10.0


class Echo(socketserver.BaseRequestHandler):
    """Says back what it hears."""

    def handle(self) -> None:
        """Until the other side ends."""
        while data := self.request.recv(1_000):
            self.request.sendall(data)


@pytest.fixture
def far() -> Iterator[int]:
    """The port of a server behind the proxy."""
    with socketserver.ThreadingTCPServer((HOST, 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def door(far: int, tmp_path: Path) -> Iterator[tuple[Proxy, int]]:
    """A proxy in front of it, and its port."""
    with socket.create_server((HOST, 0)) as probe:
        port = int(probe.getsockname()[1])
    with (tmp_path / "log").open("wb") as log:
        proxy = Proxy({port: far}, log)
        yield proxy, port
        proxy.close()


def call(port: int, timeout_s: float = PATIENCE_S) -> socket.socket:
    """A connection to the proxy."""
    return socket.create_connection((HOST, port), timeout_s)


def asked(connection: socket.socket, said: bytes = b"ping") -> bytes:
    """What comes back; empty where the connection was ended."""
    try:
        connection.sendall(said)
        return connection.recv(len(said))
    except ConnectionError:
        return b""


def test_calm_weather_carries_and_delay_comes_late(door: tuple[Proxy, int]) -> None:
    """Bytes pass both ways; with a delay they come later by it, each way."""
    proxy, port = door
    with call(port) as connection:
        assert asked(connection) == b"ping"
        proxy.change(port, Weather(delay_s=0.2))
        began_at_s = time.monotonic()
        assert asked(connection) == b"ping"
        assert time.monotonic() - began_at_s >= 0.4


def test_a_cut_ends_connections_and_lets_none_through_until_it_is_over(door: tuple[Proxy, int]) -> None:
    """Who is connected is cut off, who comes is sent away, and afterwards all is well."""
    proxy, port = door
    with call(port) as connection:
        assert asked(connection) == b"ping"
        proxy.change(port, Weather(is_cut=True))
        assert asked(connection) == b""
    with call(port) as another:
        assert asked(another) == b""
    proxy.change(port, CALM)
    with call(port) as connection:
        assert asked(connection) == b"ping"


def test_in_frost_connections_stand_and_say_nothing_and_end_with_it(door: tuple[Proxy, int]) -> None:
    """Neither an answer nor an end, as with a peer that has gone without a word."""
    proxy, port = door
    with call(port) as connection:
        assert asked(connection) == b"ping"
        proxy.change(port, Weather(is_frozen=True))
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            asked(connection)
        proxy.change(port, CALM)
        connection.settimeout(PATIENCE_S)
        assert asked(connection) == b""
