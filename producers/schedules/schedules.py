"""`Schedules`: makes, changes, looks at and triggers the schedules of a pipeline.

A change and its record on the audit topic are one transaction, and nothing else must be kept in step: the worker that
fires reads the schedules themselves.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self, Unpack

from ...schemas import SchemaStore
from ...schemas.own_records.control_records import RecordPlace
from ...schemas.own_records.schedule_records import ScheduleRecord, encode_schedule
from ...topology import ClusterSettings, Pipeline
from ...topology.actor import Actor
from ...topology.cluster.admin import Administration
from ...topology.declaration.job_type import JobCall
from ...topology.declaration.schedule import Schedule, ScheduleOptions
from ...topology.declaration.timing import Timing
from ...topology.planning.access import require_rights
from ...topology.planning.rights import Duty
from ...topology.wire.schedules import ScheduleKey
from ..control.errors import ControlNotReady
from ..delivery import Receipt
from ..transaction_writer import TransactionRecord
from .audit_records import audit_record
from .book import ScheduleBook, read_book
from .changes import ChangeWriter
from .definitions import has_same_instants, options_of, record_of, template_in
from .errors import NoSuchSchedule, ScheduleExists, ScheduleRefused, SchedulesNotReady
from .instants import timing_of
from .scheduled_calls import ScheduledCalls, trigger_ids
from .templates import Template
from .view import ScheduleView, next_instants, view_of

_IN_CODE: Final = "the application declares it: change it there, and run `stoker topology apply`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChanges:
    """The changes that bring a cluster's schedules to those that the application declares; names, sorted.

    Attributes:
        left_alone: names that the application declares, and that somebody has made at run time.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do, and nothing in the way."""
        return not (self.added or self.changed or self.removed or self.left_alone)


class Schedules:
    """The schedules of a pipeline. Not thread-safe; opens connections with the first call.

    All of its methods raise `ClusterUnreachable`, `NotAuthorized` and `ScheduleError` (`errors` has the tree).

    Args:
        pipeline: whose schedules.
        cluster: where; None reads the environment.
        operator: who changes them; None takes `$STOKER_OPERATOR`, or the user that runs this process.
        command: from where, for the audit trail; None takes the name of this program.
        store: where contracts are registered; None makes the one of the cluster settings, and closes it at the end.

    Raises:
        NoCluster: none was given, and none is configured.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: ClusterSettings | None = None,
        *,
        operator: str | None = None,
        command: str | None = None,
        store: SchemaStore | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pipeline = pipeline
        self._cluster = cluster or ClusterSettings.from_environment()
        self._actor = Actor.of_process(operator, command)
        self._clock = clock
        self._changes = ChangeWriter(pipeline, self._cluster)
        self._calls = ScheduledCalls(pipeline, self._cluster, store)
        self._is_checked = False
        self._written_up_to = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._changes.close()
        self._calls.close()

    # ---- looking

    def all(self) -> list[ScheduleView]:
        """All schedules, by name."""
        book, now = self._read(), self._clock()
        return [view_of(book, book.schedules[name], now) for name in sorted(book.schedules)]

    def show(self, name: str) -> ScheduleView:
        """One schedule."""
        book = self._read()
        return view_of(book, _find(book, name), self._clock())

    def next(self, name: str, count: int = 5) -> list[datetime]:
        """The next instants at which a schedule fires, in UTC; none while it is paused."""
        book = self._read()
        return next_instants(book, _find(book, name), self._clock(), count)

    # ---- changing

    def add(
        self, name: str, timing: Timing, call: JobCall, *, reason: str = "", **options: Unpack[ScheduleOptions]
    ) -> ScheduleView:
        """Make a schedule; `Schedule` documents each option.

        Args:
            timing: `cron("0 3 * * *", tz="Europe/Berlin")` or `every(timedelta(minutes=5))`.
            call: `job_type.call(...)`, the job of each instant.

        Raises:
            ScheduleExists: there is one of that name.
            InvalidDeclaration: a value cannot be.
            EnqueueError: an argument of the call is refused, or the cluster is not ready.
        """
        schedule = Schedule(name=name, timing=timing, call=call, queue=call.job_type.queue, **options)
        self._own(schedule)
        if name in self._read().schedules or name in self._pipeline.schedules:
            raise ScheduleExists(name, "edit or remove it, or choose another name")
        by = self._by(name, reason)
        record = record_of(schedule, self._calls.template(call), is_declared=False, since=by.since, by=by)
        return self._put("add", record)

    def edit(
        self,
        name: str,
        *,
        timing: Timing | None = None,
        call: JobCall | None = None,
        reason: str = "",
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleView:
        """Change what is given, and leave the rest; raises as `add`.

        With another timing or start, it fires at instants from now on.

        Raises:
            NoSuchSchedule: there is none of that name.
            ScheduleExists: the application declares it, so it is changed there.
        """
        old = self._own_record(name)
        chosen: ScheduleOptions = {**options_of(old), **options}
        queue = self._pipeline.find_queue(old.queue) if call is None else call.job_type.queue
        if queue.name != old.queue:
            raise ScheduleRefused(
                name, f"its jobs go to queue {old.queue!r}, not {queue.name!r}: make another schedule"
            )
        schedule = Schedule(name=name, timing=timing or timing_of(old), call=call or _no_calls, queue=queue, **chosen)
        self._own(schedule)
        template = template_in(old) if call is None else self._calls.template(call)
        by = self._by(name, reason)
        record = record_of(
            schedule, template, is_declared=False, since=by.since, by=replace(by, is_paused=old.is_paused)
        )
        return self._put(
            "edit", record if not has_same_instants(record, old) else replace(record, since=old.since), old
        )

    def pause(self, name: str, *, reason: str = "") -> ScheduleView:
        """Let a schedule fire no more, until `resume`; jobs that it has enqueued run."""
        return self._set_paused("pause", name, reason, is_paused=True)

    def resume(self, name: str, *, reason: str = "") -> ScheduleView:
        """Let it fire again, at instants from now on: those of the pause are left out."""
        return self._set_paused("resume", name, reason, is_paused=False)

    def trigger(self, name: str, *, reason: str = "") -> list[Receipt]:
        """Enqueue the jobs of a schedule now, once, whatever its times, pauses and overlaps are."""
        schedule, now = _find(self._read(), name), self._clock()
        jobs = self._calls.jobs(schedule, now)
        places = self._write(jobs, [self._audit("trigger", self._by(name, reason), schedule, schedule)])
        return [
            Receipt(job_id=job_id, topic=place.topic, partition=place.partition, offset=place.offset)
            for job_id, place in zip(trigger_ids(name, now, len(jobs)), places, strict=False)
        ]

    def remove(self, name: str, *, reason: str = "") -> None:
        """Remove a schedule; jobs that it has enqueued run."""
        old = self._own_record(name)
        self._write(_tombstones(self._pipeline, old), [self._audit("remove", self._by(name, reason), old, None)])

    # ---- what the application declares

    def plan_declared(self) -> ScheduleChanges:
        """Plan what `apply_declared` would do; changes nothing, and registers no contract.

        With a Schema Registry, a change of nothing but the arguments is not seen: their schema has no number there yet.
        """
        make = self._calls.unregistered
        return self._planned(self._read(), {name: self._declared_record(one, "", make) for name, one in self._in_code})

    def apply_declared(self, *, reason: str = "topology apply") -> ScheduleChanges:
        """Make the schedules of the cluster those that the application declares.

        Those that were made at run time stay. A pause stays as well, and so do the instants of a schedule whose times
        are the same.
        """
        book, make = self._read(), self._calls.template
        declared = {name: self._declared_record(one, reason, make) for name, one in self._in_code}
        planned = self._planned(book, declared)
        puts = [_kept(book.schedules.get(name), declared[name]) for name in (*planned.added, *planned.changed)]
        gone = [book.schedules[name] for name in planned.removed]
        verbs = dict.fromkeys(planned.added, "add") | dict.fromkeys(planned.changed, "edit")
        audits = [self._audit(verbs[record.name], record, book.schedules.get(record.name), record) for record in puts]
        audits += [self._audit("remove", self._by(record.name, reason), record, None) for record in gone]
        records = [_schedule_record(self._pipeline, record) for record in puts]
        records += [found for record in gone for found in _tombstones(self._pipeline, record)]
        if records:
            self._write(records, audits)
        return planned

    @property
    def _in_code(self) -> Iterable[tuple[str, Schedule]]:
        return self._pipeline.schedules.items()

    def _declared_record(
        self, schedule: Schedule, reason: str, make: Callable[[JobCall], Template | None]
    ) -> ScheduleRecord:
        template = make(schedule.call) if isinstance(schedule.call, JobCall) else None
        by = self._by(schedule.name, reason)
        return record_of(schedule, template, is_declared=True, since=by.since, by=by)

    def _planned(self, book: ScheduleBook, declared: dict[str, ScheduleRecord]) -> ScheduleChanges:
        standing = {name: record for name, record in book.schedules.items() if record.is_declared}
        left_alone = {name for name in declared if name in book.schedules and name not in standing}
        return ScheduleChanges(
            added=tuple(sorted(set(declared) - set(book.schedules))),
            changed=tuple(
                sorted(n for n in declared if n in standing and not self._calls.is_same(standing[n], declared[n]))
            ),
            removed=tuple(sorted(set(standing) - set(declared))),
            left_alone=tuple(sorted(left_alone)),
        )

    # ---- parts of these

    def _set_paused(self, verb: str, name: str, reason: str, *, is_paused: bool) -> ScheduleView:
        old, by = _find(self._read(), name), self._by(name, reason)
        since = old.since if is_paused or not old.is_paused else by.since
        record = replace(
            old,
            version=by.version,
            is_paused=is_paused,
            since=since,
            operator=by.operator,
            host=by.host,
            at=by.at,
            reason=reason,
        )
        return self._put(verb, record, old)

    def _put(self, verb: str, record: ScheduleRecord, old: ScheduleRecord | None = None) -> ScheduleView:
        self._write([_schedule_record(self._pipeline, record)], [self._audit(verb, record, old, record)])
        return view_of(self._read(), record, self._clock())

    def _write(self, records: list[TransactionRecord], audits: list[TransactionRecord]) -> list[RecordPlace]:
        """Write, and wait until the schedules that this object reads include the change."""
        self._check_ready()
        places = self._changes.write(records, audits)
        offsets = [place.offset for place in places if place.topic == self._pipeline.schedules_topic]
        if offsets:
            self._written_up_to = offsets[-1]
            self._read()
        return places

    def _audit(
        self, verb: str, by: ScheduleRecord, old: ScheduleRecord | None, new: ScheduleRecord | None
    ) -> TransactionRecord:
        return audit_record(self._pipeline, self._actor, verb, by, (old, new))

    def _by(self, name: str, reason: str) -> ScheduleRecord:
        """A record that has only who makes it, where, when and why."""
        now = self._clock()
        return ScheduleRecord(
            name=name,
            version=str(uuid.uuid4()),
            queue="",
            since=now,
            operator=self._actor.operator,
            host=self._actor.host,
            at=now,
            reason=reason,
        )

    def _own_record(self, name: str) -> ScheduleRecord:
        """A schedule that was made at run time."""
        record = _find(self._read(), name)
        if record.is_declared:
            raise ScheduleExists(name, _IN_CODE)
        return record

    def _own(self, schedule: Schedule) -> None:
        if self._pipeline.queues.get(schedule.queue.name) is not schedule.queue:
            raise ScheduleRefused(schedule.name, f"queue {schedule.queue.name!r} belongs to another pipeline")

    def _read(self) -> ScheduleBook:
        try:
            return read_book(self._pipeline, self._cluster, self._written_up_to)
        except ControlNotReady as missing:
            require_rights(
                Duty.SCHEDULES_LIST, self._pipeline, self._cluster
            )  # what may not be read seems to be missing
            raise SchedulesNotReady(missing.topics) from missing

    def _check_ready(self) -> None:
        """See once that the topics are there and may be written to."""
        if self._is_checked:
            return
        wanted = [self._pipeline.schedules_topic, self._pipeline.audit_topic]
        found = Administration(self._cluster).topics(wanted)
        if len(found) < len(wanted):
            raise SchedulesNotReady(sorted(set(wanted) - set(found)))
        require_rights(Duty.SCHEDULES, self._pipeline, self._cluster)
        self._is_checked = True


def _find(book: ScheduleBook, name: str) -> ScheduleRecord:
    try:
        return book.schedules[name]
    except KeyError:
        raise NoSuchSchedule(name, book.schedules) from None


def _no_calls(_instant: datetime) -> list[JobCall]:
    """Stands for the jobs of a schedule that keeps those which it has."""
    return []


def _kept(old: ScheduleRecord | None, new: ScheduleRecord) -> ScheduleRecord:
    """A declared schedule, with what stays of the one before."""
    if old is None:
        return new
    return replace(new, is_paused=old.is_paused, since=old.since if has_same_instants(old, new) else new.since)


def _schedule_record(pipeline: Pipeline, record: ScheduleRecord) -> TransactionRecord:
    key = ScheduleKey.SCHEDULE.of(record.name)
    return TransactionRecord(topic=pipeline.schedules_topic, key=key, value=encode_schedule(record), headers=[])


def _tombstones(pipeline: Pipeline, record: ScheduleRecord) -> list[TransactionRecord]:
    keys = [ScheduleKey.SCHEDULE.of(record.name), ScheduleKey.FIRED.of(record.name)]
    return [TransactionRecord(topic=pipeline.schedules_topic, key=key, value=None, headers=[]) for key in keys]
