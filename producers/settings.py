"""The bounds of a producer: how long it waits, and how much it holds."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePath
from typing import Final
from urllib.parse import quote

CHECK_TIMEOUT: Final = timedelta(seconds=2)
"""How long a health check waits for the brokers."""
REPORT_GRACE_S: Final = 5.0
"""librdkafka looks for expired records once a second or so, so that its report comes a little after the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    """How one producer behaves.

    Attributes:
        source: the publishing service, sent as `ce_source`, such as `/shop/checkout`; None is this host and program.
        confirm_timeout: how long the brokers may take to confirm a job before it fails. 30 s outlasts the election of
            a new leader, and is shorter than most callers' own patience.
        room_wait: how long a call waits for room in the full buffer before it fails.
        full_wait: how long a call waits for room in a full queue that declares `when_full="wait"`, before it fails.
        max_buffered_jobs: unconfirmed jobs held at the most; 20,000 keep a fast broker busy.
        max_buffered_bytes: their size at the most.
        baggage: whether the baggage of the caller's OpenTelemetry context travels with its jobs. It does not unless
            asked for, since baggage may hold what not everybody who reads the topic should see.
    """

    source: str | None = None
    confirm_timeout: timedelta = timedelta(seconds=30)
    room_wait: timedelta = timedelta(seconds=5)
    full_wait: timedelta = timedelta(seconds=30)
    max_buffered_jobs: int = 20_000
    max_buffered_bytes: int = 64 * 1024 * 1024
    baggage: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot be, all of them together.

        Raises:
            ValueError: they cannot.
        """
        faults = []
        if self.confirm_timeout < timedelta(milliseconds=100):
            faults.append(f"confirm_timeout must be at least 100ms; it is {self.confirm_timeout}")
        if self.room_wait < timedelta(0):
            faults.append(f"room_wait must not be below zero; it is {self.room_wait}")
        if self.full_wait < timedelta(0):
            faults.append(f"full_wait must not be below zero; it is {self.full_wait}")
        if not 1 <= self.max_buffered_jobs <= 10_000_000:
            faults.append(f"max_buffered_jobs must be 1 to 10,000,000; it is {self.max_buffered_jobs}")
        if self.max_buffered_bytes < 1_048_576:
            faults.append(f"max_buffered_bytes must be at least 1 MiB; it is {self.max_buffered_bytes}")
        if faults:
            raise ValueError(f"the producer cannot be set up so: {'; '.join(faults)}")

    @property
    def confirm_s(self) -> float:
        """How long the brokers may take to confirm a job."""
        return self.confirm_timeout.total_seconds()

    @property
    def room_wait_s(self) -> float:
        """How long a call waits for room."""
        return self.room_wait.total_seconds()

    @property
    def full_wait_s(self) -> float:
        """How long a call waits for room in a full queue."""
        return self.full_wait.total_seconds()

    @property
    def report_wait_s(self) -> float:
        """How long a call waits for the client's report on a job, at the very most."""
        return self.confirm_s + REPORT_GRACE_S

    def with_overrides(self, source: str | None, confirm_timeout: timedelta | None) -> ProducerSettings:
        """A copy in which the given values, where there are any, take the place of its own."""
        return replace(
            self,
            source=self.source if source is None else source,
            confirm_timeout=self.confirm_timeout if confirm_timeout is None else confirm_timeout,
        )

    def in_flight(self, wished: int | None) -> int:
        """How many jobs of one bulk may be unconfirmed; never more than the buffer takes.

        Raises:
            ValueError: fewer than one are wished.
        """
        if wished is not None and wished < 1:
            raise ValueError(f"max_in_flight must be at least 1; it is {wished}")
        return min(wished or self.max_buffered_jobs, self.max_buffered_jobs)


def default_source() -> str:
    """This host and program, as a CloudEvents source: `//web-1/checkout`."""
    program = PurePath(sys.argv[0] if sys.argv else "").stem or "python"
    return f"//{quote(socket.gethostname() or 'localhost')}/{quote(program)}"[:256]
