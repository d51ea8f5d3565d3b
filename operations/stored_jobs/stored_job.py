"""`StoredJob`: one job as it lies on a topic, whether well formed or not; what filters, counts and replays look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from confluent_kafka import Message

from ...topology.wire import headers as wire
from ...topology.wire.headers import HeaderMap, header_map

RawHeaders = list[tuple[str, bytes | None]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REF = re.compile(r"(\d{1,10})/(\d{1,18})")
"""As many digits as Kafka has: its client fails by a larger number, and Python by one of thousands of digits."""


class Ref(NamedTuple):
    """Where a record lies on its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


def parse_ref(text: str) -> Ref | None:
    """Read `partition/offset`; None when the text is something else, such as a job id."""
    written = _REF.fullmatch(text.strip())
    return Ref(int(written[1]), int(written[2])) if written else None


@dataclass(frozen=True, kw_only=True)
class StoredJob:
    """One job as stored. Without slots, because the header index is made at most once and only when asked for.

    Attributes:
        ref: partition and offset.
        at: the record's timestamp: the time of death on a dead-letter topic, of publishing on a main topic.
        raw_headers: as they came, in their order; repeated names and null values included.
    """

    ref: Ref
    at: datetime
    key: bytes | None
    value: bytes | None
    raw_headers: RawHeaders

    @cached_property
    def headers(self) -> HeaderMap:
        """The headers by name."""
        return header_map(self.raw_headers)

    def text(self, header: str) -> str:
        """A header as text; empty when it is absent, with a mark for each byte that is no UTF-8."""
        return self.headers.get(header, b"").decode("utf-8", "replace")

    @property
    def enqueued_at(self) -> datetime:
        """When the job was enqueued, by its producer's clock, of a copy as well; else the record's own time."""
        try:
            return min(self.at, wire.parse_instant(self.headers[wire.TIME]))
        except (KeyError, ValueError):
            return self.at

    @property
    def job_id(self) -> str:
        """The job's id, empty on a malformed record."""
        return self.text(wire.JOB_ID)

    @property
    def job_type(self) -> str:
        """The job's type, empty on a malformed record."""
        return self.text(wire.JOB_TYPE)

    @property
    def key_text(self) -> str | None:
        """The ordering key as text."""
        return None if self.key is None else self.key.decode("utf-8", "replace")

    @property
    def tenant(self) -> str:
        """The tenant for which the job runs; empty without one."""
        return self.text(wire.TENANT)

    @property
    def error_type(self) -> str:
        """The class of the last error, empty where none is noted."""
        return self.text(wire.ERROR_TYPE)

    @property
    def fingerprint(self) -> str:
        """The last error's fingerprint, empty where none is noted."""
        return self.text(wire.ERROR_FINGERPRINT)

    @property
    def reason(self) -> str:
        """Why the job is on a dead-letter topic."""
        return self.text(wire.REASON)

    @property
    def replay(self) -> str:
        """Id of the replay that published the record; empty when it was enqueued."""
        return self.text(wire.REPLAY)

    def is_expired(self, now: datetime) -> bool:
        """Whether a worker would drop the job for its expiry; not if that is unreadable."""
        written = self.headers.get(wire.EXPIRES)
        if not written:
            return False
        try:
            return wire.parse_instant(written) <= now
        except ValueError:
            return False


def record_of(message: Message) -> StoredJob:
    """Take over a consumed message."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise ValueError("the message was not consumed from a topic")
    _, timestamp_ms = message.timestamp()
    return StoredJob(
        ref=Ref(partition, offset),
        at=_EPOCH + timedelta(milliseconds=min(max(timestamp_ms, 0), wire.LAST_MS)),
        key=message.key(),
        value=message.value(),
        raw_headers=_pairs(message),
    )


def _pairs(message: Message) -> RawHeaders:
    """The headers; none where the client cannot read them, as a worker takes such a record."""
    try:
        raw = message.headers() or []
    except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
        return []
    pairs = raw.items() if isinstance(raw, dict) else raw
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
