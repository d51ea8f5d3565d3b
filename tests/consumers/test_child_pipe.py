"""What goes over a child's pipe goes through, whatever either end is at."""

from __future__ import annotations

import pickle
import socket
import struct
from multiprocessing.connection import Connection, Pipe

from stoker.consumers.children.messages import LogLine, receive, send


def test_a_large_message_is_written_in_one_call() -> None:
    """Between two calls another thread of a child may take the interpreter for itself, and half a message be read."""
    message = LogLine(b"x" * 20_000)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # keeps writes apart
    with far, Connection(near.detach()) as pipe:
        send(pipe, message)
        frame = far.recv(100_000)
    assert frame[:4] == struct.pack("!i", len(frame) - 4)
    assert pickle.loads(frame[4:]) == message


def test_a_message_is_read_as_it_was_written() -> None:
    """Small or larger than what a connection of the standard library writes at once."""
    near, far = Pipe()
    with near, far:
        for size in (0, 100, 20_000, 100_000):
            send(near, LogLine(b"x" * size))
            assert receive(far) == LogLine(b"x" * size)
