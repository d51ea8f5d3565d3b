"""`ScheduleRecord` and `LastFiring`: what is fired when, and what was fired last, as the topic of schedules has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

from .control_records import RecordPlace
from .own import decode_own, encode_own


class FiringOutcome(StrEnum):
    """The outcome of an instant.

    FIRED: its jobs were enqueued. MISSED: no worker was there, and the schedule leaves it out. OVERLAP: the job before
    had not ended.
    """

    FIRED = "fired"
    MISSED = "missed"
    OVERLAP = "overlap"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord:
    """One schedule. Lengths of time are in milliseconds, as on the wire.

    Attributes:
        version: another one after each change.
        queue: the owner of its partition 0 fires the schedule.
        job_type: empty where a function of the application makes the jobs; `value` is None then.
        cron, zone, every_ms: when; one of `cron` and `every_ms` is None.
        since: it fires at instants after this one only: when it was made, changed or resumed.
        grace_ms: an instant is missed when no worker has fired it for so long.
        is_declared: whether the application declares it, so that `topology apply` changes and removes it.
        value, key, headers, expires_ms: what the records of its jobs have in common.
        operator, host, at, reason: who made or changed it last, where, when and why.
    """

    name: str
    version: str
    queue: str
    job_type: str = ""
    cron: str | None = None
    zone: str = "UTC"
    every_ms: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    since: datetime
    jitter_ms: int = 0
    missed: str = "latest"
    missed_limit: int = 100
    grace_ms: int = 300_000
    overlap: str = "allow"
    is_paused: bool = False
    is_declared: bool = False
    value: bytes | None = None
    key: bytes | None = None
    expires_ms: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    owner: str = ""
    description: str = ""
    operator: str
    host: str
    at: datetime
    reason: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFiring:
    """The last instant of a schedule that was dealt with.

    Attributes:
        instant: no instant up to this one is fired again.
        at: when it was dealt with.
        outcome: one of `FiringOutcome`.
        skipped: how many instants were left out since the one that was dealt with before; the name is that on the wire.
        job_id, place: of the last job that was enqueued; empty and None where none was.
    """

    instant: datetime
    at: datetime
    outcome: str
    skipped: int = 0
    job_id: str = ""
    place: RecordPlace | None = None
    worker: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOwner:
    """Who fires the schedules of a queue."""

    worker: str
    at: datetime
    detail: Mapping[str, str] = field(default_factory=dict)


def encode_owner(owner: ScheduleOwner) -> bytes:
    """Write who fires, framed."""
    return encode_own("ScheduleOwner", asdict(owner))


def decode_owner(value: bytes | None) -> ScheduleOwner:
    """Read who fires.

    Raises:
        Undecodable: the bytes are none.
        UnknownSchema: another version of Stoker wrote it.
    """
    return ScheduleOwner(**decode_own("ScheduleOwner", value))


def encode_schedule(schedule: ScheduleRecord) -> bytes:
    """Write a schedule, framed."""
    headers = [{"name": name, "value": value} for name, value in schedule.headers]
    return encode_own("Schedule", {**asdict(schedule), "headers": headers})


def decode_schedule(value: bytes | None) -> ScheduleRecord:
    """Read a schedule.

    Raises:
        Undecodable: the bytes are no schedule.
        UnknownSchema: another version of Stoker wrote it.
    """
    datum = decode_own("Schedule", value)
    headers = tuple((header["name"], header["value"]) for header in datum.pop("headers"))
    return ScheduleRecord(**datum, headers=headers)


def encode_firing(firing: LastFiring) -> bytes:
    """Write what was fired last, framed."""
    return encode_own("LastFiring", asdict(firing))


def decode_firing(value: bytes | None) -> LastFiring:
    """Read what was fired last.

    Raises:
        Undecodable: the bytes are none.
        UnknownSchema: another version of Stoker wrote it.
    """
    datum = decode_own("LastFiring", value)
    place = datum.pop("place")
    return LastFiring(**datum, place=None if place is None else RecordPlace(**place))
