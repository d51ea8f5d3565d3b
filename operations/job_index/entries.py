"""`JobEntry`: the facts of one job in one record or event. Of two of them, the later one stands by itself.

Clocks of several machines differ by more than a short job takes. So what is later follows from the attempt and from
where the record is, within one such step from the offset in one partition, and only else from the clock. A replay
begins a new life of the job.
"""

from __future__ import annotations

import uuid
from binascii import unhexlify
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from confluent_kafka import Message

from ...schemas import Undecodable, UnknownSchema, decode_own, wire_text
from ...schemas.own_records.jobs_ended import columns_of, decode_jobs_ended
from ...schemas.own_records.own import is_own
from ...topology.declaration.topics import Role
from ...topology.wire import headers as wire
from .states import ENDED_STEP, EVENT_STATES, REASON_STATES, STEPS, State, step_of_record, step_of_state

_ID_CHARACTERS: Final = 36
_ID_DIGITS: Final = 32
_LONGEST_KEY: Final = 200
_FIRST_LIFE: Final = 0
_MOST_MS: Final = 1 << 48
"""The year 10889, the last one that a UUID can name; the index has place for differences of such instants."""
_OFFSET_DIGITS: Final = 19
"""Digits of the largest offset, and of the largest number that the file has place for."""


@dataclass(slots=True, kw_only=True)
class HistoryEntry:
    """One thing that happened to a job beside its success, as its history keeps it.

    Attributes:
        kind: the event's word.
        at_ms, began_ms, due_ms: since 1970; 0 where that is not known.
        detail: as the event has it.
    """

    kind: str
    attempt: int
    at_ms: int
    began_ms: int = 0
    due_ms: int = 0
    worker: str = ""
    release: str = ""
    error_type: str = ""
    fingerprint: str = ""
    message: str = ""
    stack: str = ""
    reason: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)
    life: int = _FIRST_LIFE


@dataclass(slots=True, kw_only=True)
class JobEntry:
    """The facts of one job in one record or event.

    Attributes:
        stored: the job's id, as the file has it.
        life: 0 of the job as it was enqueued, of a replay when that began.
        step: how far it is within that life.
        at_ms, enqueued_ms, began_ms, due_ms: since 1970; 0 where that is not known.
        took_us: of the run that succeeded; -1 where that is not known.
        names: other names under which the ledger may remember it.
        history: what its history gets.
    """

    stored: bytes | str
    state: State
    life: int
    step: int
    at_ms: int
    job_type: str
    queue: str
    topic: str
    partition: int
    offset: int
    enqueued_ms: int = 0
    tenant: str = ""
    key: str | None = None
    began_ms: int = 0
    took_us: int = -1
    due_ms: int = 0
    worker: str = ""
    release: str = ""
    source: str = ""
    names: tuple[str, ...] = ()
    history: Sequence[HistoryEntry] = ()

    def __post_init__(self) -> None:
        """Let its history know the life: it may be merged with that of another one."""
        for item in self.history:
            item.life = self.life

    @property
    def job_id(self) -> str:
        """The job's id, as people write it."""
        return shown_id(self.stored)

    def is_later(self, life: int, step: int, offset: int | None, at_ms: int) -> bool:
        """Whether it comes after another entry of the job, or is as late.

        Args:
            offset: where the record of the other one stands, if that is in the same partition; else None.
        """
        if (self.life, self.step) != (life, step):
            return (self.life, self.step) > (life, step)
        if offset is not None and offset != self.offset:
            return self.offset > offset
        return self.at_ms >= at_ms

    def merge(self, other: JobEntry) -> JobEntry:
        """The later one of two entries of a job, with the history, the names and the source of both."""
        is_same_place = (self.topic, self.partition) == (other.topic, other.partition)
        is_later = self.is_later(other.life, other.step, other.offset if is_same_place else None, other.at_ms)
        later, earlier = (self, other) if is_later else (other, self)
        if earlier.history:
            later.history = [*earlier.history, *later.history]
        later.names = later.names or earlier.names
        later.source = later.source or earlier.source
        return later


@dataclass(frozen=True, slots=True, kw_only=True)
class DispositionEntry:
    """A dead letter that was discarded."""

    topic: str
    partition: int
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOrigin:
    """The queue and the role of a topic."""

    queue: str
    role: Role


def stored_id(job_id: str) -> bytes | str:
    """An id as the file has it: a UUID in lower case as its 16 bytes, which is less than half; all else as it is.

    >>> stored_id("0198c2d4-7c1d-7aa0-9d3c-5f0f6c1f7d11")[:3], stored_id("nightly@2026-03-29")
    (b'\\x01\\x98\\xc2', 'nightly@2026-03-29')
    """
    if len(job_id) != _ID_CHARACTERS or job_id[8:24:5] != "----":
        return job_id
    digits = job_id.replace("-", "")
    if len(digits) != _ID_DIGITS or digits != digits.lower():
        return job_id
    try:
        return unhexlify(digits)
    except ValueError:
        return job_id


def shown_id(stored: bytes | str) -> str:
    """The id that is stored so."""
    return str(uuid.UUID(bytes=stored)) if isinstance(stored, bytes) else stored


def life_of(replay: str, at_ms: int) -> int:
    """When the history of a job began that a replay has published, by the replay's id; 0 without one."""
    if not replay:
        return _FIRST_LIFE
    try:
        made = uuid.UUID(replay)
    except ValueError:
        return at_ms
    return made.int >> 80 if made.version == 7 else at_ms


def _ms(instant: datetime | None) -> int:
    return 0 if instant is None else round(instant.timestamp() * 1e3)


def _ms_of(value: bytes | None) -> int:
    if value is None:
        return 0
    try:
        if value[-1:] == b"Z" and value[10:11] == b"T":  # as Stoker writes them: that is most of what a rebuild reads
            return round(datetime.fromisoformat(value.decode()).timestamp() * 1e3)
        return _ms(wire.parse_instant(value))
    except ValueError:
        return 0


@lru_cache(maxsize=10_000)
def _known(value: bytes | None) -> str:
    """The text of a header of which few values occur, many times each."""
    return wire_text(value)


# ---- records


def entry_of_record(message: Message, origin: TopicOrigin) -> JobEntry | DispositionEntry | None:
    """Read a record of a job's topics; None where it names no job."""
    try:
        pairs: Any = message.headers() or ()
    except (SystemError, UnicodeDecodeError):
        return None
    headers: dict[str, bytes] = dict(pairs)
    if None in headers.values():
        headers = {name: value for name, value in headers.items() if value is not None}
    if wire.DISPOSITION in headers:
        return _disposition(message, headers)
    job_id = wire_text(headers.get(wire.JOB_ID))
    return _entry(message, headers, origin, job_id) if job_id else None


def _disposition(message: Message, headers: Mapping[str, bytes]) -> DispositionEntry | None:
    settles = headers.get(wire.SETTLES, b"")
    if headers[wire.DISPOSITION] != b"discarded" or not settles.isdigit() or len(settles) > _OFFSET_DIGITS:
        return None
    offset = int(settles)
    if offset >= (message.offset() or 0):
        return None
    topic, partition, at_ms = _place(message)
    return DispositionEntry(topic=topic, partition=partition, offset=offset, at_ms=at_ms)


def _place(message: Message) -> tuple[str, int, int]:
    """Topic, partition and time of a record; brokers before 4.0 take any time that a publisher names."""
    at_ms = min(max(message.timestamp()[1], -_MOST_MS), _MOST_MS)
    return message.topic() or "", message.partition() or 0, at_ms


def _entry(message: Message, headers: Mapping[str, bytes], origin: TopicOrigin, job_id: str) -> JobEntry:
    topic, partition, at_ms = _place(message)
    get, key = headers.get, message.key()
    attempt = _attempt(headers) if wire.ATTEMPT in headers else 1
    replay = wire_text(headers[wire.REPLAY]) if wire.REPLAY in headers else ""
    return JobEntry(
        stored=stored_id(job_id),
        state=_state_of_record(headers, origin.role),
        life=life_of(replay, at_ms) if replay else _FIRST_LIFE,
        step=step_of_record(attempt, origin.role),
        at_ms=at_ms,
        job_type=_known(get(wire.JOB_TYPE)),
        queue=origin.queue,
        topic=topic,
        partition=partition,
        offset=message.offset() or 0,
        enqueued_ms=_ms_of(get(wire.TIME)) or at_ms,
        tenant=_known(get(wire.TENANT)),
        key=None if key is None else wire_text(key, _LONGEST_KEY),
        due_ms=_ms_of(get(wire.DUE)),
        worker=_known(get(wire.WORKER)),
        source=_known(get(wire.SOURCE)),
        names=_names(headers, replay),
        history=_failure_of_record(headers, origin.role, attempt, at_ms),
    )


def _attempt(headers: Mapping[str, bytes]) -> int:
    written = headers.get(wire.ATTEMPT, b"1")
    return int(written) if written.isdigit() and len(written) < 8 else 1


def _state_of_record(headers: Mapping[str, bytes], role: Role) -> State:
    if role is Role.DEAD:
        return State.DEAD
    if role is Role.RETRY:
        return State.RETRYING
    if role in (Role.DELAY, Role.CARRIED):
        waits = State.DELAYED if wire.DUE in headers else State.QUEUED
        return REASON_STATES.get(headers.get(wire.REASON, b""), waits)
    return State.DELAYED if wire.DUE in headers else State.QUEUED


def _names(headers: Mapping[str, bytes], replay: str) -> tuple[str, ...]:
    """The name in the ledger, where that is not the job's id."""
    name = headers.get(wire.IDEMPOTENCY_KEY)
    if not name and not replay:
        return ()
    text = wire_text(name or headers[wire.JOB_ID])
    return (f"{replay}:{text}" if replay else text,)


def _failure_of_record(headers: Mapping[str, bytes], role: Role, attempt: int, at_ms: int) -> Sequence[HistoryEntry]:
    """The failed run that a retry or a dead letter records: its event may be lost."""
    if role not in (Role.RETRY, Role.DEAD) or wire.ERROR_TYPE not in headers:
        return ()
    return [
        HistoryEntry(
            kind="dead" if role is Role.DEAD else "retried",
            attempt=attempt if role is Role.DEAD else attempt - 1,
            at_ms=at_ms,
            due_ms=0 if role is Role.DEAD else _ms_of(headers.get(wire.DUE)),
            worker=wire_text(headers.get(wire.WORKER)),
            error_type=wire_text(headers.get(wire.ERROR_TYPE)),
            fingerprint=wire_text(headers.get(wire.ERROR_FINGERPRINT)),
            message=wire_text(headers.get(wire.ERROR_MESSAGE), 1_000),
            stack=wire_text(headers.get(wire.ERROR_STACK), 4_000),
            reason=wire_text(headers.get(wire.REASON)),
        )
    ]


# ---- events


def entries_of_event(value: bytes) -> Iterator[JobEntry]:
    """Read what an event holds of jobs; nothing where it is about none, or of another version of Stoker."""
    try:
        if is_own("JobsEnded", value):
            yield from _done(value)
        elif is_own("JobEvent", value):
            yield from _of_event(decode_own("JobEvent", value))
    except (Undecodable, UnknownSchema, ValueError, LookupError, ArithmeticError):
        return


def _done(value: bytes) -> Iterator[JobEntry]:
    event = decode_jobs_ended(value)
    at_ms = _ms(event.at)
    queue, worker, release, topic = event.queue, event.worker, event.release, event.topic
    for stored, kind, partition, offset, tenant, key, attempt, enqueued_ms, replay, before_s, took_s in zip(
        *columns_of(event), strict=True
    ):
        began_ms = at_ms - round(before_s * 1e3)
        ended_ms = began_ms + round(took_s * 1e3)
        if max(began_ms, ended_ms, enqueued_ms) > _MOST_MS or min(began_ms, ended_ms, enqueued_ms) < -_MOST_MS:
            raise Undecodable(f"no instants: {began_ms}, {ended_ms}, {enqueued_ms} ms since 1970")
        yield JobEntry(
            stored=stored if isinstance(stored, bytes) else stored_id(stored),
            state=State.DONE,
            life=life_of(replay, at_ms) if replay else _FIRST_LIFE,
            step=attempt * STEPS + ENDED_STEP,
            at_ms=ended_ms,
            job_type=kind,
            queue=queue,
            topic=topic,
            partition=partition,
            offset=offset,
            enqueued_ms=enqueued_ms,
            tenant=tenant,
            key=None if key is None else wire_text(key, _LONGEST_KEY),
            began_ms=began_ms,
            took_us=round(took_s * 1e6),
            worker=worker,
            release=release,
        )


def _of_event(event: Mapping[str, Any]) -> Iterator[JobEntry]:
    state = EVENT_STATES.get(event["event"])
    if state is None or not event["job_id"]:
        return
    at_ms = _ms(event["at"])
    yield JobEntry(
        stored=stored_id(event["job_id"]),
        state=state,
        life=life_of(event["replay"], at_ms),
        step=step_of_state(event["attempt"], state),
        at_ms=at_ms,
        job_type=event["job_type"],
        queue=event["queue"],
        topic=event["topic"],
        partition=event["partition"],
        offset=event["offset"],
        enqueued_ms=_ms(event["enqueued"]),
        tenant=event["tenant"],
        key=event["key"][:_LONGEST_KEY] or None,
        began_ms=_ms(event["began"]),
        due_ms=_ms(event["due"]),
        worker=event["worker"],
        release=event["release"],
        history=[_history_entry(event, at_ms)],
    )


def _history_entry(event: Mapping[str, Any], at_ms: int) -> HistoryEntry:
    return HistoryEntry(
        kind=event["event"],
        attempt=event["attempt"],
        at_ms=at_ms,
        began_ms=_ms(event["began"]),
        due_ms=_ms(event["due"]),
        worker=event["worker"],
        release=event["release"],
        error_type=event["error_type"],
        fingerprint=event["fingerprint"],
        message=event["message"],
        stack=event["stack"],
        reason=event["reason"],
        detail=event["detail"],
    )
