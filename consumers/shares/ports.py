"""`SharesParts`: what the thread of shares works with, and how it sees the limits and the topic of shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Message

from ...schemas.own_records.share_records import ShareEntry
from ...topology.declaration.limits import Limit
from ..kafka.log_writer import OnWritten
from ..meters.limit_report import LimitReport


class SharesReader(Protocol):
    """Reads the topic of shares, as `LogReader` does: it goes on by itself where a client has failed for good."""

    def ask_end(self, timeout_s: float) -> tuple[int, int]:
        """The first offset, and the one behind the last record."""

    def start(self, offset: int) -> None:
        """Read from this offset on."""

    def start_at_time(self, at_s: float, timeout_s: float) -> None:
        """Read from this epoch time of the brokers on."""

    def read(self, timeout_s: float) -> list[Message]:
        """Take what is there, or wait for the first record."""

    def close(self) -> None:
        """Disconnect."""


class SharesWriter(Protocol):
    """Writes to the topic of shares, as `LogWriter` does."""

    def write(self, value: bytes, on_written: OnWritten | None) -> None:
        """Write a record, which is answered in any case."""

    def poll(self) -> None:
        """Serve what was written."""

    def close(self) -> None:
        """Disconnect."""


class SharedLimits(Protocol):
    """The gate of limits, as this thread sees it."""

    @property
    def in_force(self) -> Mapping[str, Limit]:
        """{name: limit} as they are kept; another object after each change."""
        ...

    def requests(self) -> Mapping[str, list[ShareEntry]]:
        """{coordinator: entries to send now}."""

    def last_requests(self) -> Mapping[str, list[ShareEntry]]:
        """{coordinator: entries to send at the end}: all that no job uses is returned."""

    def note_grant(self, entry: ShareEntry, sent_at_s: float) -> None:
        """Take in a grant."""

    def note_given(self, reports: Mapping[str, LimitReport]) -> None:
        """Take in the reports of the coordinator; empty where this process gives nothing."""

    def note_held(self, entry: ShareEntry) -> None:
        """Hold a scope for which a job of a worker has asked that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesParts:
    """The parts that the thread works with.

    Attributes:
        queue: whose worker it is.
        given: {name: limit} of those that the owner of this queue's first partition gives.
        owns_first: whether that is this process.
        make_reader, make_writer: make the clients.
        clock: as `time.monotonic`.
    """

    queue: str
    worker_id: str
    given: Mapping[str, Limit]
    owns_first: Callable[[], bool]
    make_reader: Callable[[], SharesReader]
    make_writer: Callable[[], SharesWriter]
    clock: Callable[[], float] = time.monotonic
