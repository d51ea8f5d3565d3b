"""`StatisticsPane` and `StatisticsPosition`: the statistics that processes share on `<namespace>.stats`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from .own import decode_own, encode_own, is_own

PANE_S: Final = 10
"""How long a pane is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How many runs failed of one cause; `message` is that of the first one."""

    fingerprint: str
    error_type: str
    message: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCounts:
    """The figures of one job type in a pane; `StatisticsPane.avsc` has the meaning of each field."""

    job_type: str
    counts: Mapping[str, int]
    wait_buckets: bytes = b""
    wait_counts: bytes = b""
    run_buckets: bytes = b""
    run_counts: bytes = b""
    failures: tuple[FailureCount, ...] = ()
    other_failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsPane:
    """The figures of one queue and ten seconds, by the events of one partition.

    Attributes:
        begins_s: since 1970.
        upto: an offset; all events below it that belong to the pane are in it.
    """

    partition: int
    queue: str
    begins_s: int
    seconds: int = PANE_S
    upto: int
    types: tuple[TypeCounts, ...]

    @property
    def key(self) -> bytes:
        """The key of its record."""
        return b"pane/%d/%d/%s" % (self.partition, self.begins_s, self.queue.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsPosition:
    """How far the statistics of one events partition are.

    Attributes:
        offset: all events below it are counted.
        behind: events that the writer knows of and has not counted.
        process: the writer, as `host/process id`.
    """

    partition: int
    offset: int
    behind: int
    at: datetime
    process: str

    @property
    def key(self) -> bytes:
        """The key of its record."""
        return b"position/%d" % self.partition


def encode_pane(pane: StatisticsPane) -> bytes:
    """Write a pane, framed."""
    return encode_own("StatisticsPane", asdict(pane))


def decode_pane(value: bytes | None) -> StatisticsPane:
    """Read a pane.

    Raises:
        Undecodable: the bytes are none.
        UnknownSchema: another version of Stoker wrote it.
    """
    datum = decode_own("StatisticsPane", value)
    types = tuple(map(_type_counts, datum.pop("types")))
    return StatisticsPane(**datum, types=types)


def _type_counts(datum: dict[str, Any]) -> TypeCounts:
    failures = tuple(FailureCount(**failure) for failure in datum.pop("failures"))
    return TypeCounts(**datum, failures=failures)


def is_pane(value: bytes | None) -> bool:
    """Whether a record's value is a pane."""
    return is_own("StatisticsPane", value)


def encode_position(position: StatisticsPosition) -> bytes:
    """Write a position, framed."""
    return encode_own("StatisticsPosition", asdict(position))


def decode_position(value: bytes | None) -> StatisticsPosition:
    """Read a position; errors as of `decode_pane`."""
    return StatisticsPosition(**decode_own("StatisticsPosition", value))


def is_position(value: bytes | None) -> bool:
    """Whether a record's value is a position."""
    return is_own("StatisticsPosition", value)
