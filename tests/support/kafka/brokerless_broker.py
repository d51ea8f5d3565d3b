"""`BrokerlessBroker`: speaks just enough of Kafka's protocol to tell clients that no broker is up.

A real one says so for a moment only, while it stops or starts, which no test can ask for.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Final

TOPIC: Final = "any"
_PRODUCE, _FETCH, _METADATA, _API_VERSIONS = 0, 1, 3, 18
_VERSIONS: Final = ((_PRODUCE, 0, 7), (_FETCH, 0, 11), (_METADATA, 0, 4), (_API_VERSIONS, 0, 0))
_UNSUPPORTED_VERSION: Final = 35
_LEADER_NOT_AVAILABLE: Final = 5
_NODE: Final = 1


class BrokerlessBroker:
    """One broker with one partition, on a port of its own.

    Attributes:
        is_up: whether it tells of itself.
        asked: how often metadata were asked for.
    """

    def __init__(self) -> None:
        self.is_up = True
        self.asked = 0
        self._port = 0
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, on the port of last time."""
        self._listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and cut off those that are connected."""
        if self._listener is not None:
            for one in (self._listener, *self._connections):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._listener = None
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, struct.error), connection:
            while True:
                (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
                asked = connection.recv(size, socket.MSG_WAITALL)
                kind, version, number = struct.unpack(">hhi", asked[:8])
                answer = self._answer(kind, version)
                if answer is not None:
                    connection.sendall(struct.pack(">ii", len(answer) + 4, number) + answer)

    def _answer(self, kind: int, version: int) -> bytes | None:
        if kind == _API_VERSIONS:
            head = struct.pack(">hi", _UNSUPPORTED_VERSION if version else 0, len(_VERSIONS))
            return head + b"".join(struct.pack(">hhh", *versions) for versions in _VERSIONS)
        if kind == _METADATA:
            self.asked += 1
            return self._metadata()
        return None

    def _metadata(self) -> bytes:
        node = struct.pack(">i", _NODE) + _text("127.0.0.1") + struct.pack(">ih", self._port, -1)
        brokers = [node] if self.is_up else []
        leader = struct.pack(">hii", 0 if self.is_up else _LEADER_NOT_AVAILABLE, 0, _NODE if self.is_up else -1)
        partition = leader + struct.pack(">iiii", 1, _NODE, 1, _NODE)
        topic = struct.pack(">h", 0) + _text(TOPIC) + struct.pack(">?i", False, 1) + partition
        controller = _text("cluster") + struct.pack(">i", _NODE if self.is_up else -1)
        return struct.pack(">ii", 0, len(brokers)) + b"".join(brokers) + controller + struct.pack(">i", 1) + topic


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
