"""`Blockers`: why a partition has not come further, published as events for those who look from outside.

A queue whose oldest job runs for long, is stuck, or waits for a retry of its key looks the same on the topics. The
worker knows which it is, and reports it every few seconds while it lasts: of each partition whose lowest incomplete job
has been that for a while, and of each stuck job.
"""

from __future__ import annotations

import math
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from ...schemas import wire_text
from ...schemas.own_records.job_events import EventSubject, JobBlocking
from ...topology import Queue
from ...topology.wire.headers import JOB_ID
from ..delays.calendar import Calendar
from ..dispatch.unbegun_records import UnbegunRecords
from ..gates.gate import Wait
from ..gates.waiting_view import WaitingView
from ..job.run import Run
from ..ordering.lanes import Lanes
from ..progress.assignment import Assignment, Lane, Place
from ..records.record import Record
from ..runners.watchdog import Watchdog, is_stuck
from ..settling.event_publisher import EventPublisher
from ..settling.events import subject_of
from ..settling.settle import Settler
from ..settling.writes import utc

OLD_AFTER_S: Final = 5.0
"""How long the same job must be a partition's lowest incomplete one before it is reported."""
REPEAT_S: Final = 5.0
"""How often it is reported, while it lasts."""
LOOKING_RATIO: Final = 0.02
"""The part of the poll thread's time at the most: it looks less often where very many jobs wait."""
MOST_REPORTS: Final = 20
"""At most so many reports of one queue at a time, the oldest first."""


BlockerState = Literal["running", "stuck", "behind", "awaiting-retry", "unsettled", "ready"]
"""`reason` of the event, or else that of a gate; `docs/wire-contract.md` has the meaning of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """One job that a partition waits for.

    Attributes:
        record: None where the worker has only its offset at hand.
        since_at_s: `time.monotonic()` at which it began to run, or became the lowest incomplete one.
        detail: what else is known, as the event's `detail`.
    """

    place: Place
    state: BlockerState | str
    since_at_s: float
    record: Record | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockerParts:
    """The parts of one queue's worker that have jobs."""

    calendar: Calendar
    lanes: Lanes
    at_gates: WaitingView
    unbegun: UnbegunRecords
    watchdog: Watchdog
    settler: Settler


class Blockers:
    """Looks for blockers of one queue and publishes them; owned by the poll thread."""

    def __init__(self, queue: Queue, worker_id: str, parts: BlockerParts, events: EventPublisher) -> None:
        self._queue = queue
        self._worker_id = worker_id
        self._calendar = parts.calendar
        self._lanes, self._at_gates, self._unbegun = parts.lanes, parts.at_gates, parts.unbegun
        self._watchdog = parts.watchdog
        self._settler = parts.settler
        self._events = events
        self._next_look_at_s = 0.0

    def report(self, lowest: Mapping[Assignment, tuple[int, float]], now_s: float) -> None:
        """Publish the blockers, if it is time; `lowest` has each partition's lowest incomplete offset, since when."""
        if now_s < self._next_look_at_s:
            return
        began_at_s = time.monotonic()
        old = {
            (a, offset): since_at_s for a, (offset, since_at_s) in lowest.items() if now_s - since_at_s >= OLD_AFTER_S
        }
        for blocker in sorted(self._found(old), key=lambda found: found.since_at_s)[:MOST_REPORTS]:
            since = utc(time.time() - (now_s - blocker.since_at_s))
            self._events.publish(blocker_event(blocker, since, queue=self._queue, worker_id=self._worker_id))
        self._next_look_at_s = now_s + max(REPEAT_S, (time.monotonic() - began_at_s) / LOOKING_RATIO)

    def _found(self, old: Mapping[Place, float]) -> Iterator[Blocker]:
        """Why the jobs at these places are incomplete, and all stuck jobs."""
        slots = [(slot, run) for slot in self._watchdog.slots if (run := slot.run) is not None]
        running = {place_of(run.record): run for _, run in slots}
        for slot, run in slots:
            if is_stuck(slot) or place_of(run.record) in old:
                yield _of_run(run, "stuck" if is_stuck(slot) else "running")
        waiting = {place: since_at_s for place, since_at_s in old.items() if place not in running}
        if waiting:
            yield from self._of_waiting(waiting, {run.record.normal_lane: run for run in running.values()})

    def _of_waiting(self, waiting: Mapping[Place, float], running: Mapping[Lane | None, Run]) -> Iterator[Blocker]:
        parked = _at(waiting, self._lanes.parked_records())
        held = {place_of(record): (record, wait) for record, wait in self._at_gates.waiting().items()}
        elsewhere = waiting.keys() - parked.keys() - held.keys()
        delayed = {
            place for place in elsewhere if self._calendar.holds(*place)
        }  # in their topics until due, as they should
        aside = self._lanes.aside(elsewhere - delayed)
        for place, since_at_s in waiting.items():
            if place in parked:
                yield self._of_parked(parked[place], since_at_s, running)
            elif place in held:
                record, wait = held[place]
                yield _of_held(place, wait, since_at_s, record)
            elif place in aside:
                yield self._of_aside(place, aside[place], since_at_s)
            elif place not in delayed:
                state: BlockerState = "unsettled" if self._settler.is_in_trouble else "ready"
                yield Blocker(place=place, state=state, since_at_s=since_at_s)

    def _of_aside(self, place: Place, lane_hash: int, since_at_s: float) -> Blocker:
        why = self._unbegun.why_aside(lane_hash)
        return (
            Blocker(place=place, state="behind", since_at_s=since_at_s)
            if why is None
            else _of_held(place, why, since_at_s)
        )

    def _of_parked(self, record: Record, since_at_s: float, running: Mapping[Lane | None, Run]) -> Blocker:
        ahead = running.get(record.normal_lane)
        source = self._lanes.awaited_source(record) if ahead is None else None
        state: BlockerState = "behind"
        detail = {} if ahead is None else {"behind": ahead.job_id}
        if source is not None:
            state, detail = "awaiting-retry", {**source.detail, **self._of_retry(record)}
        return Blocker(place=place_of(record), state=state, since_at_s=since_at_s, record=record, detail=detail)

    def _of_retry(self, parked: Record) -> dict[str, str]:
        """The job that a parked record waits for, where it waits in memory."""
        found = None if parked.lane is None else self._calendar.find(parked.lane)
        if found is None:
            return {}
        ahead, wakes_at_s = found
        return {"behind": wire_text(ahead.header(JOB_ID)), "due": utc(wakes_at_s).isoformat()}


def place_of(record: Record) -> Place:
    """Where a record stands."""
    return record.assignment, record.offset


def _at(places: Container[Place], records: Iterable[Record]) -> dict[Place, Record]:
    """{place: record} of those that stand at one of these places."""
    return {place: record for record in records if (place := place_of(record)) in places}


def _of_held(place: Place, wait: Wait, since_at_s: float, record: Record | None = None) -> Blocker:
    due = {} if wait.until_at_s is None else {"due": utc(wait.until_at_s).isoformat()}
    detail = {**wait.why.detail, **due}
    return Blocker(place=place, state=wait.why.state, since_at_s=since_at_s, record=record, detail=detail)


def _of_run(run: Run, state: BlockerState) -> Blocker:
    timeout_s = run.limits.timeout_s
    detail = {} if math.isinf(timeout_s) else {"timeout_s": f"{timeout_s:g}"}
    return Blocker(place=place_of(run.record), state=state, since_at_s=run.began_at_s, record=run.record, detail=detail)


def blocker_event(blocker: Blocker, since: datetime, *, queue: Queue, worker_id: str) -> JobBlocking:
    """The event of a blocker."""
    return JobBlocking(
        subject=_subject(blocker, queue),
        at=utc(time.time()),
        worker=worker_id,
        reason=blocker.state,
        since=since,
        more=blocker.detail,
    )


def _subject(blocker: Blocker, queue: Queue) -> EventSubject:
    if blocker.record is not None:
        return subject_of(blocker.record, queue)
    assignment, offset = blocker.place
    return EventSubject(
        job_id="",
        job_type="",
        queue=queue.name,
        topic=assignment.topic,
        partition=assignment.partition,
        offset=offset,
    )
