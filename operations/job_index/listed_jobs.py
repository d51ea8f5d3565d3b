"""`ListedJob` and `ListedHistoryEntry`: a job of the index, and an entry of its history, as they are read from rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ...topology.wire.headers import LAST_MS
from .entries import shown_id
from .states import State, attempt_of_step, known_from


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedJob:
    """A job as a list shows it; of a time that is not known, None.

    Attributes:
        known_from: see `states.known_from`.
    """

    job_id: str
    job_type: str
    queue: str
    state: State
    tenant: str
    key: str | None
    attempt: int
    enqueued: datetime
    changed: datetime
    began: datetime | None
    took: timedelta | None
    due: datetime | None
    worker: str
    release: str
    source: str
    place: str
    error_type: str
    fingerprint: str
    message: str
    known_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHistoryEntry:
    """One entry of a job's history."""

    kind: str
    life: int
    attempt: int
    at: datetime
    began: datetime | None
    due: datetime | None
    worker: str
    release: str
    error_type: str
    fingerprint: str
    message: str
    stack: str
    reason: str
    detail: Mapping[str, str] = field(default_factory=dict)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = -62_135_596_800_000
"""Where the year 1 begins: a `datetime` has nothing earlier."""
COLUMNS: Final = (
    "j.n, j.id, t.name, q.name, j.state, tn.name, j.key, j.step, j.enq, j.at, j.began, j.took, j.due, w.name, "
    "r.name, s.name, p.name, j.off, e.name, f.fingerprint, f.message, x.message"
)
"""Columns that `listed` takes of a row; `JOINS` has the names for it."""
JOINS: Final = (
    "LEFT JOIN names t ON t.k = j.type LEFT JOIN names q ON q.k = j.queue LEFT JOIN names tn ON tn.k = j.tenant "
    "LEFT JOIN names w ON w.k = j.worker LEFT JOIN names r ON r.k = j.release LEFT JOIN names s ON s.k = j.source "
    "LEFT JOIN names p ON p.k = j.place LEFT JOIN failures f ON f.g = j.grp LEFT JOIN names e ON e.k = f.error "
    "LEFT JOIN texts x ON x.n = j.n"
)


def listed(row: Sequence[Any]) -> ListedJob:
    """The job of a row of `COLUMNS`."""
    (_n, key, kind, queue, state, tenant, job_key, step, enq, at, began, took, due, worker) = row[:14]
    release, source, place, offset, error, fingerprint, group_message, message = row[14:]
    return ListedJob(
        job_id=shown_id(key),
        job_type=_text(kind),
        queue=_text(queue),
        state=State(state),
        tenant=_text(tenant),
        key=job_key,
        attempt=attempt_of_step(step),
        enqueued=instant_of(enq),
        changed=instant_of(enq + at),
        began=_after(enq, began),
        took=None if took is None else timedelta(microseconds=took),
        due=_after(enq, due),
        worker=_text(worker),
        release=_text(release),
        source=_text(source),
        place=f"{place}/{offset}",
        error_type=_text(error),
        fingerprint=_text(fingerprint),
        message=message or group_message or "",
        known_from=known_from(step, State(state)),
    )


def listed_history_entry(row: Sequence[Any]) -> ListedHistoryEntry:
    """The entry of a row of the history."""
    kind, life, attempt, at, began, due, worker, release, error, fingerprint, message, stack, reason, detail = row
    return ListedHistoryEntry(
        kind=kind,
        life=life,
        attempt=attempt,
        at=instant_of(at),
        began=_after(0, began),
        due=_after(0, due),
        worker=_text(worker),
        release=_text(release),
        error_type=_text(error),
        fingerprint=_text(fingerprint),
        message=_text(message),
        stack=_text(stack),
        reason=_text(reason),
        detail=json.loads(detail) if detail else {},
    )


def instant_of(ms: int) -> datetime:
    """The instant of epoch milliseconds; of those that no `datetime` has, as an id may name, the nearest one."""
    return _EPOCH + timedelta(milliseconds=min(max(ms, _FIRST_MS), LAST_MS))


def ms_of(instant: datetime) -> int:
    """An instant as the index has it, in epoch milliseconds."""
    return round(instant.timestamp() * 1e3)


def _after(start_ms: int, ms: int | None) -> datetime | None:
    """The instant so long after another one; None for None."""
    return None if ms is None else instant_of(start_ms + ms)


def _text(value: str | None) -> str:
    return value or ""
