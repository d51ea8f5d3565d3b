"""Schedules as they are shown: rows and pages for people, documents for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ...topology.durations import of_milliseconds
from ..instants import rounded

if TYPE_CHECKING:
    from ...producers.schedules import LastFiring, ScheduleView

TITLES: Final = ("NAME", "FIRES", "NEXT", "LAST", "JOB", "QUEUE")


def schedule_row(view: ScheduleView, now: datetime) -> Sequence[object]:
    """One schedule, for people."""
    schedule = view.schedule
    return (view.name, view.timing, _next(view, now), _last(view.last), schedule.job_type or "(made)", schedule.queue)


def _next(view: ScheduleView, now: datetime) -> str:
    if view.schedule.is_paused:
        return "paused"
    return "never" if view.next_at is None else f"{in_utc(view.next_at)} ({ahead(view.next_at - now)})"


def _last(last: LastFiring | None) -> str:
    if last is None:
        return "-"
    return in_utc(last.instant) + ("" if last.outcome == "fired" else f" ({last.outcome})")


def in_utc(instant: datetime) -> str:
    """An instant for people."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _in_utc(instant: datetime | None) -> str | None:
    return None if instant is None else in_utc(instant)


def ahead(left: timedelta) -> str:
    """How long it is until then."""
    return "due" if left <= timedelta(0) else f"in {rounded(left)}"


def schedule_page(view: ScheduleView, now: datetime) -> list[str]:
    """All of a schedule, for people."""
    schedule = view.schedule
    lines = [
        ("fires", view.timing),
        ("next", _next(view, now)),
        ("last", _last_in_words(view.last)),
        ("job", schedule.job_type or "made by a function of the application"),
        ("queue", schedule.queue),
        ("key", _text(schedule.key)),
        ("start", _in_utc(schedule.starts_at)),
        ("end", _in_utc(schedule.ends_at)),
        ("jitter", _length(schedule.jitter_ms)),
        ("missed", f"{schedule.missed}{_limit(view)}, after {rounded(of_milliseconds(schedule.grace_ms))}"),
        ("overlap", schedule.overlap),
        ("fired by", view.fired_by or "no worker yet"),
        ("owner", schedule.owner or None),
        ("about", schedule.description or None),
        ("changed", f"{in_utc(schedule.at)} by {schedule.operator}@{schedule.host}, {_made(view)}"),
        ("reason", schedule.reason or None),
    ]
    return [view.name, *_aligned(lines)]


def _aligned(lines: Iterable[tuple[str, str | None]]) -> list[str]:
    return [f"  {name:<9} {value}" for name, value in lines if value is not None]


def _made(view: ScheduleView) -> str:
    return "declared by the application" if view.schedule.is_declared else "made at run time"


def _last_in_words(last: LastFiring | None) -> str:
    if last is None:
        return "never"
    left_out = f", {last.skipped} left out" if last.skipped else ""
    job = f", job {last.job_id}" if last.job_id else ""
    return f"{_last(last)}{left_out}{job}"


def _limit(view: ScheduleView) -> str:
    return f" (the last {view.schedule.missed_limit})" if view.schedule.missed == "all" else ""


def _length(milliseconds: int) -> str | None:
    return f"up to {of_milliseconds(milliseconds)}" if milliseconds else None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def schedule_document(view: ScheduleView) -> dict[str, object]:
    """One schedule, for programs."""
    schedule, last = view.schedule, view.last
    return {
        "name": view.name,
        "queue": schedule.queue,
        "job_type": schedule.job_type or None,
        "cron": schedule.cron,
        "tz": schedule.zone if schedule.cron is not None else None,
        "every_s": None if schedule.every_ms is None else schedule.every_ms / 1_000,
        "start": schedule.starts_at,
        "end": schedule.ends_at,
        "jitter_s": schedule.jitter_ms / 1_000,
        "missed": schedule.missed,
        "missed_limit": schedule.missed_limit,
        "grace_s": schedule.grace_ms / 1_000,
        "overlap": schedule.overlap,
        "key": _text(schedule.key),
        "is_paused": schedule.is_paused,
        "is_declared": schedule.is_declared,
        "next": view.next_at,
        "last": None if last is None else _firing_document(last),
        "fired_by": view.fired_by,
        "owner": schedule.owner,
        "description": schedule.description,
        "operator": schedule.operator,
        "host": schedule.host,
        "at": schedule.at,
        "reason": schedule.reason,
    }


def _firing_document(last: LastFiring) -> dict[str, object]:
    return {
        "instant": last.instant,
        "at": last.at,
        "outcome": last.outcome,
        "left_out": last.skipped,
        "job_id": last.job_id or None,
        "worker": last.worker,
    }
