"""What goes over a child's pipe goes through, whatever either end is at."""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from datetime import timedelta
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import isolated_jobs
from isolating import declare, isolated
from stoker.consumers.children.messages import LogLine, receive, send
from stoker.consumers.children.slot import ChildSlot
from stoker.consumers.outcomes import Retried
from waiting import wait_until


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


def test_a_child_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """Else a trace that is on for long would fill the pipe, and the runner wait there instead of at the limits."""
    pipeline, queue, (hold,) = declare(isolated_jobs.hold_the_interpreter, timeout=timedelta(seconds=2))
    with isolated(pipeline, queue) as here:
        job = here.offer(hold, str(tmp_path / "notes"), 60)
        wait_until(lambda: isolated_jobs.notes(tmp_path / "notes"), 30, "the job's begin")
        (place,) = here.runners.places
        assert isinstance(place, ChildSlot)
        child = place.child
        assert child is not None
        asking = threading.Thread(target=lambda: [child.frames(0.0) for _ in range(1000)], daemon=True)
        asking.start()
        asking.join(1)
        here.assignment.is_open = False  # which the runner tells the child
        assert isinstance(here.wait(job, deadline_s=20)[0], Retried)
        asking.join()
