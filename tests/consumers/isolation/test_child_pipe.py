"""What goes over a child's pipe goes through, whatever either end is at."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import cast

import pytest

from stoker.consumers.isolation import child_pipe
from stoker.consumers.isolation.child_pipe import ChildPipe
from stoker.consumers.isolation.child_slot import ChildSlot
from stoker.consumers.isolation.log_relay import PipeHandler
from stoker.consumers.isolation.messages import HEARTBEAT, Ended, FromChild, Heartbeat, LogLine, receive, send, write
from stoker.consumers.job.answers import Answer
from stoker.consumers.records.outcomes import DONE, Retried
from support.programs import isolated_jobs
from support.scenes.isolated_runners import declare, isolated
from support.waiting import wait_until

RECORD = logging.LogRecord("isolated", logging.ERROR, __file__, 1, "amid that", None, None)


@pytest.fixture
def pipe_and_far(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ChildPipe, Connection]]:
    """A child's side, and what the worker would read from."""
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    near, far = Pipe()
    with near, far:
        yield ChildPipe(near), far


def received_from(pipe: ChildPipe, far: Connection, message: FromChild, count: int) -> list[type]:
    """Say something in a thread of its own; what kinds of messages come then."""
    threading.Thread(target=pipe.send, args=(message,), daemon=True).start()
    received: list[type] = []
    while len(received) < count and far.poll(5):
        received.append(type(receive(far)))
    return received


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
    """Else inspections that go on for long would fill the pipe, and the runner wait there instead of at the limits."""
    pipeline, queue, (hold,) = declare(isolated_jobs.hold_the_interpreter, timeout=timedelta(seconds=2))
    with isolated(pipeline, queue) as here:
        job = here.offer(hold, str(tmp_path / "notes"), 60)
        wait_until(lambda: isolated_jobs.notes(tmp_path / "notes"), 60, "the job's begin")
        (slot,) = here.runners.slots
        assert isinstance(slot, ChildSlot)
        child = slot.child
        assert child is not None
        asking = threading.Thread(target=lambda: [child.frames(0.0) for _ in range(1000)], daemon=True)
        asking.start()
        asking.join(1)
        here.assignment.leave()  # which the runner tells the child
        assert isinstance(here.wait(job, within_s=60)[0], Retried)
        asking.join()


class _LogsWhenPickled:
    """Stands for an object of the application's that is collected while a message is pickled, and logs its end."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler

    def __reduce__(self) -> tuple[object, ...]:
        self._handler.handle(RECORD)
        return int, ()


def test_a_child_can_log_while_a_message_is_pickled(pipe_and_far: tuple[ChildPipe, Connection]) -> None:
    """A collection can begin there, and an object of the application's log its end: that must not wait for itself."""
    pipe, far = pipe_and_far
    message = Ended(cast(Answer, _LogsWhenPickled(PipeHandler(pipe.send_log))))
    assert received_from(pipe, far, message, 2) == [LogLine, Ended]


def test_a_child_can_log_while_a_message_is_written(
    pipe_and_far: tuple[ChildPipe, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the thread that writes, and in another that came meanwhile: neither waits for the other for ever."""
    pipe, far = pipe_and_far
    handler = PipeHandler(pipe.send_log)
    is_first = iter([True])

    def write_and_be_interrupted(pipe: Connection, packed: bytes) -> None:
        if next(is_first, False):
            other = threading.Thread(target=handler.handle, args=(RECORD,), daemon=True)
            other.start()
            other.join(0.2)  # it waits until this is written
            handler.handle(RECORD)
        write(pipe, packed)

    monkeypatch.setattr(child_pipe, "write", write_and_be_interrupted)
    assert received_from(pipe, far, HEARTBEAT, 3) == [Heartbeat, LogLine, LogLine]


def ended_deaf(pipe: ChildPipe, monkeypatch: pytest.MonkeyPatch, report_to: tuple[int, ...]) -> bool:
    """Whether the child ends as it receives its next message."""
    killed = threading.Event()
    monkeypatch.setattr(os, "killpg", lambda *_: killed.set())
    hearing = (SimpleQueue[object](), lambda _place: None, report_to)
    threading.Thread(target=pipe.listen, args=hearing, daemon=True).start()
    return killed.wait(10)


def raise_memory_error(_: Connection) -> None:
    """Receive a message for which there is no memory."""
    raise MemoryError


@pytest.mark.parametrize("is_full", [True, False], ids=["full", "broken"])
def test_a_deaf_child_ends_whatever_has_become_of_stderr(
    is_full: bool, pipe_and_far: tuple[ChildPipe, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is in the other file."""
    monkeypatch.setattr(child_pipe, "receive", raise_memory_error)
    reader, stderr = os.pipe()
    with open(reader, "rb") as far_end, open(stderr, "wb", buffering=0), TemporaryFile() as stacks:
        if is_full:
            os.set_blocking(stderr, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(stderr, b"x")
            os.set_blocking(stderr, True)
        else:
            far_end.close()
        for files in ((stacks.fileno(), stderr), (stderr, stacks.fileno())):
            assert ended_deaf(pipe_and_far[0], monkeypatch, files)
            assert b"MemoryError" in os.pread(stacks.fileno(), 4096, 0)
            stacks.truncate(0)


def test_a_child_does_not_blame_a_worker_that_ends_amid_a_message(
    pipe_and_far: tuple[ChildPipe, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is deaf there."""
    pipe, far = pipe_and_far
    os.write(far.fileno(), struct.pack("!i", 1000) + b"half of it")
    far.close()
    with TemporaryFile() as stacks:
        assert ended_deaf(pipe, monkeypatch, (stacks.fileno(),))
        assert os.fstat(stacks.fileno()).st_size == 0


@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_a_log_line_that_the_workers_logging_refuses_is_reported_once_and_kills_nobody(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither passes what the application's filter raises for the child's end, nor does it stop the worker."""

    def refuse(_: logging.LogRecord) -> bool:
        raise kind("refused")

    pipeline, queue, (log,) = declare(isolated_jobs.log_something)
    isolated_jobs.LOGGER.addFilter(refuse)
    try:
        with isolated(pipeline, queue) as here:
            assert [here.run(log, "hello") for _ in range(2)] == [DONE, DONE]
    finally:
        isolated_jobs.LOGGER.removeFilter(refuse)
    assert here.assignment.crash_history.crashes == {}
    assert capsys.readouterr().err.count(f"{kind.__name__}: refused") == 1
