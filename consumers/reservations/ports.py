"""`ReservationParts`: what the thread of reservations works with, and how it sees the limits and their log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from confluent_kafka import Message

from ...schemas.own_records.reservation_records import ReservationEntry
from ..kafka.log_writer import OnWritten
from .partition_log import FormerLevel, ScopeName


class LevelReader(Protocol):
    """Reads some partitions of the log of reservations."""

    def ask_edges(self, partition: int, timeout_s: float) -> tuple[int, int]:
        """The first offset, and the one behind the last record."""

    def start(self, partition: int, offset: int) -> None:
        """Read this partition from this offset on."""

    def end(self, partition: int) -> None:
        """Read this partition no more."""

    def read(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for the first record."""

    def close(self) -> None:
        """Disconnect."""


class LevelWriter(Protocol):
    """Writes to the log of reservations, as `LogWriter` does."""

    def write(self, value: bytes, on_written: OnWritten, partition: int) -> None:
        """Write a record, which is answered in any case."""

    def poll(self) -> None:
        """Serve what was written."""

    def close(self) -> None:
        """Write the last ones, and disconnect."""


class ReservedLimits(Protocol):
    """The limits that go by reservations, as this thread sees them."""

    @property
    def longest_s(self) -> float:
        """After so long nothing of a scope is left."""

    def owned(self) -> Mapping[int, int]:
        """{partition of this process: number of its present ownership}."""

    def restore(
        self, partition: int, levels: Iterable[tuple[ScopeName, FormerLevel]], unknown_at_s: float | None
    ) -> None:
        """Go on with what the log has of a partition."""

    def suspend(self, partition: int) -> Sequence[ReservationEntry]:
        """Let no job of a partition begin until `restore`; return the entries that the log still lacks."""

    def collect(self, number: int) -> Mapping[int, Sequence[ReservationEntry]]:
        """{partition: the reservations that are to be written now}, under this number."""

    def confirm(self, partition: int, number: int) -> None:
        """Note that the log has the reservations of this number."""

    def fail(self, partition: int, number: int) -> None:
        """Note that they were not written."""

    def scopes(self, partition: int) -> Sequence[ScopeName]:
        """All scopes of a partition that are in use."""

    def states(
        self, partition: int, names: Iterable[ScopeName], number: int
    ) -> tuple[Sequence[ReservationEntry], Sequence[ScopeName]]:
        """The entries of these scopes, and the scopes whose reservation is on its way just now."""

    def unknown_for_s(self, partition: int) -> float | None:
        """How long ago the use in a partition was unknown; None where that has no effect any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationParts:
    """The parts that the thread works with.

    Attributes:
        queue, topic: whose worker it is, and the log's topic.
        clock: as `time.monotonic`.
        make_session: a name that no other ownership has, of any worker.
    """

    queue: str
    topic: str
    make_reader: Callable[[], LevelReader]
    make_writer: Callable[[], LevelWriter]
    clock: Callable[[], float] = time.monotonic
    make_session: Callable[[], str] = lambda: uuid4().hex[:16]
