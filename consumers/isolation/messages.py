"""The messages between a worker and its child processes; pickled, one message a frame of their pipe.

A worker sends `Setup` once, then `RunJob` for one job at a time, perhaps `ShouldStop`, `CancelJob` or `AskFrames` while
it runs, and `Leave` at the end. A child answers `Started` or `StartFailed`, then for each job `Begun` and `Ended`, and
between them as many `Heartbeat`, `Progressed`, `Frames` and `LogLine` as there are. Of each block of a dependency it
asks by `EnterDependency`, which `DependencyAnswer` answers, and sends `LeftDependency`.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any, Final

from ...topology.wire.headers import HeaderList, HeaderMap, header_map
from ..job.answers import Answer
from ..job.dependencies import DependencyDown
from ..job.heartbeats import JobProgress
from ..records.header_layout import LAYOUTS, HeaderLayout
from ..records.job_record import JobRecord

STACK_SIGNAL: Final = signal.SIGRTMIN if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""At this signal a child dumps the stacks of its threads, also from inside of C code."""
LENGTH: Final = struct.Struct("!i")
"""The length that `Connection.recv_bytes` expects before a frame's bytes."""
LARGEST_FRAME_BYTES: Final = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that a child gets once.

    Attributes:
        main: what `multiprocessing.spawn.prepare` takes: folder, arguments, and the main module if handlers are in it.
        addresses: a pickled tuple of `HandlerAddress`, read after `main`, as it names the application's errors.
        log_levels: {logger: level} of the worker's process at the child's start; the root's name is empty.
        stack_file: number of the open file into which this child's stacks are dumped.
    """

    parent_id: int
    main: Mapping[str, object]
    queue: str
    addresses: bytes
    log_levels: Mapping[str, int]
    stack_file: int


@dataclass(frozen=True, kw_only=True)
class ChildRecord:
    """The job's Kafka record as the worker has read it; its attributes are those of `JobRecord`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    pairs: HeaderList
    timestamp_ms: int
    deduplication_id: str | None

    @classmethod
    def of(cls, record: JobRecord) -> ChildRecord:
        """Take what a child needs of a record."""
        return cls(**{name: getattr(record, name) for name in cls.__dataclass_fields__})

    @cached_property
    def headers(self) -> HeaderMap:
        """{name: value}; of a repeated name the last one."""
        return header_map(self.pairs)

    @property
    def layout(self) -> HeaderLayout:
        """Where each header stands among them."""
        return LAYOUTS[tuple(self.headers)]

    @property
    def size_bytes(self) -> int:
        """About as much as it takes in the pipe."""
        headers = sum(len(name) + len(value or b"") for name, value in self.pairs)
        return len(self.key or b"") + len(self.value or b"") + headers

    def __str__(self) -> str:
        """Where the record stands, as `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """One run. `arguments` are `(args, kwargs)` in pickle; the rest is the job's context.

    `trace` are the trace headers of the run's span in the worker; empty where no tracer records it.
    """

    job_type: str
    arguments: bytes
    job_id: str
    attempt: int
    attempts: int
    record: ChildRecord
    trace: HeaderList = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """About as much as it takes in the pipe."""
        return len(self.arguments) + self.record.size_bytes


@dataclass(frozen=True, slots=True)
class ShouldStop:
    """The job that runs shall come to an end by itself."""


@dataclass(frozen=True, slots=True)
class CancelJob:
    """The job of this record is cancelled: it shall clean up and end, before its process is killed."""

    place: str


@dataclass(frozen=True, slots=True)
class AskFrames:
    """The worker asks where in its code the job is."""


@dataclass(frozen=True, slots=True)
class Leave:
    """No more jobs: end as a program does that has come to its end."""


@dataclass(frozen=True, slots=True)
class Started:
    """Everything is imported. `peak_bytes` is the most memory held so far."""

    peak_bytes: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The child cannot begin; `report` is the traceback."""

    report: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The job begins; a death of the child before this message is no crash, unless it is the third in turn."""


@dataclass(slots=True)
class Ended:
    """The job has ended; `answer` is what an error asks for, described here, or None where the handler returned."""

    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The job is alive."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The job reports its progress."""

    latest: JobProgress


@dataclass(frozen=True, slots=True)
class Frames:
    """Where the main thread is: `file:line function`, the innermost last."""

    lines: tuple[str, ...]


@dataclass(slots=True)
class LogLine:
    """A log record: the pickled attributes of a `logging.LogRecord`."""

    attributes: bytes


@dataclass(frozen=True, slots=True)
class EnterDependency:
    """The job enters the block of a dependency; it waits for the answer."""

    name: str


@dataclass(frozen=True, slots=True)
class DependencyAnswer:
    """The block may begin, or raises: `DependencyDown`, or `UnknownDependency` by the names that are `known`."""

    down: DependencyDown | None = None
    known: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LeftDependency:
    """A block has ended: failed, well, or None where that shows nothing."""

    name: str
    failed: bool | None
    why: str


ASK_FRAMES = AskFrames()
BEGUN = Begun()
HEARTBEAT = Heartbeat()
LEAVE = Leave()
SHOULD_STOP = ShouldStop()
ToChild = Setup | RunJob | ShouldStop | CancelJob | AskFrames | DependencyAnswer | Leave
FromChild = (
    Started | StartFailed | Begun | Heartbeat | Progressed | EnterDependency | LeftDependency | Frames | Ended | LogLine
)


def send(pipe: Connection, message: ToChild | FromChild) -> None:
    """Write one message.

    Raises:
        OSError: the process at the other end has closed the pipe.
    """
    write(pipe, pack(message))


def pack(message: ToChild | FromChild) -> bytes:
    """Pickle one message."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def write(pipe: Connection, packed: bytes) -> None:
    """Write one frame, in one call.

    `Connection.send_bytes` takes two for a large one, and another thread of a child may enter C code between them and
    keep the interpreter: the worker would wait for the rest, and look at no limit meanwhile. One call the kernel
    finishes by itself.

    Raises:
        OSError: the process at the other end has closed the pipe.
    """
    if len(packed) > LARGEST_FRAME_BYTES:
        pipe.send_bytes(packed)
        return
    left = memoryview(LENGTH.pack(len(packed)) + packed)
    while left:
        left = left[os.write(pipe.fileno(), left) :]


def receive(pipe: Connection) -> Any:  # a `FromChild` or a `ToChild`
    """Read one message; which kinds may come depends on the end.

    Raises:
        EOFError, OSError: the process at the other end has closed the pipe.
    """
    return pickle.loads(pipe.recv_bytes())
