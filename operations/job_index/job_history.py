"""`JobHistory`: the history of one job: what it is, each thing that happened to it, where it waits, what it became.

It is put together from the index, or, where that is not at hand, from the topics themselves, which takes longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from .committed_jobs import ask_committed
from .entries import DispositionEntry, HistoryEntry, JobEntry, TopicOrigin, entries_of_event, entry_of_record
from .index_reader import IndexReader
from .ledger_names import ended_by, is_of_earlier_job, job_and_place
from .listed_jobs import ListedHistoryEntry, ListedJob, instant_of
from .states import State, attempt_of_step, committed_step, known_from, reconciled_step
from .topic_reading import origins_of

if TYPE_CHECKING:
    from confluent_kafka import Message

    from ...topology import ClusterSettings, Pipeline, Queue
    from ..stored_jobs.topic_reader import Span
    from .database import Partition

NEIGHBOURS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHistory:
    """The history of a job.

    Attributes:
        entries: all but its success, the first first.
        front: the job of its key that it waits for, if there is one.
        is_of_topics: whether it was read from the topics, by which no job in front is found.
        neighbours: the newest other jobs of its key.
    """

    job: ListedJob
    entries: Sequence[ListedHistoryEntry]
    front: ListedJob | None = None
    is_of_topics: bool = False
    neighbours: Sequence[ListedJob] = ()


def find_history(reader: IndexReader, job_id: str, queues: Mapping[str, Queue], now: datetime) -> JobHistory | None:
    """The history of a job by the index; None where it has none of that id."""
    job = reader.job(job_id)
    if job is None:
        return None
    front, neighbours = None, list[ListedJob]()
    if job.key is not None:
        neighbours = [one for one in reader.of_key(job.queue, job.key, NEIGHBOURS + 1) if one.job_id != job_id]
        if job.queue in queues:
            front = reader.ahead_of(job, queues[job.queue], now)
    return JobHistory(job=job, entries=reader.history(job_id), front=front, neighbours=neighbours[:NEIGHBOURS])


def read_history(
    pipeline: Pipeline, cluster: ClusterSettings, job_id: str, after: Mapping[Partition, int] | None = None
) -> JobHistory | None:
    """The history of a job by the topics themselves, all that are there; None where none has it.

    Args:
        after: offsets before which no record is of the job, as an index knows them; by default all records are read.

    Raises:
        StoredJobsError: a topic cannot be read to its end, or there is none of those that hold jobs.
        KafkaException, ClusterUnreachable, NotAuthorized: the groups cannot be asked what they have committed.
    """
    committed = ask_committed(pipeline, cluster).committed  # before the topics: what came of such records is on them
    entries: list[JobEntry] = []
    dispositions: list[DispositionEntry] = []
    logs = _Logs(cluster, after or {})
    for found in _read(pipeline, logs, job_id):
        if isinstance(found, DispositionEntry):
            dispositions.append(found)
        else:
            entries.append(found)
    if not entries:
        return None
    latest = entries[0]
    for entry in entries[1:]:
        latest = latest.merge(entry)
    latest = _ended(latest, dispositions, _state_in_ledger(pipeline, logs, latest))
    is_committed = latest.offset in committed.get((latest.topic, latest.partition), ())
    if is_committed and not latest.state.has_ended:
        latest = replace(latest, state=State.DONE, step=committed_step(latest.step), due_ms=0)
    history = sorted(_once(latest.history), key=lambda one: (one.life, one.at, one.attempt))
    return JobHistory(job=listed_of(latest), entries=history, is_of_topics=True)


def _read(pipeline: Pipeline, logs: _Logs, job_id: str) -> Iterator[JobEntry | DispositionEntry]:
    from ..stored_jobs.errors import TopicAbsent

    origins, absent = origins_of(pipeline), list[TopicAbsent]()
    for topic, origin in origins.items():
        try:
            yield from _of_topic(logs, topic, origin, job_id)
        except TopicAbsent as missing:  # it holds no job; the others may
            absent.append(missing)
    if absent and len(absent) == len(origins):
        raise absent[0]
    with suppress(TopicAbsent):
        for message in logs.messages(pipeline.events_topic):
            yield from (entry for entry in entries_of_event(message.value() or b"") if entry.job_id == job_id)


def _of_topic(logs: _Logs, topic: str, origin: TopicOrigin, job_id: str) -> Iterator[JobEntry | DispositionEntry]:
    """Entries of one job on a topic of jobs, and all dispositions there."""
    for message in logs.messages(topic):
        found = entry_of_record(message, origin)
        if isinstance(found, DispositionEntry) or (found is not None and found.job_id == job_id):
            yield found


@dataclass(frozen=True, slots=True)
class _Logs:
    """The topics as they are now, from some offsets on."""

    cluster: ClusterSettings
    after: Mapping[Partition, int]

    def messages(self, topic: str) -> Iterator[Message]:
        from ..stored_jobs.topic_reader import TopicReader

        with TopicReader(self.cluster, topic) as reader:
            yield from reader.read([self._newer(topic, span) for span in reader.spans()])

    def _newer(self, topic: str, span: Span) -> Span:
        start = self.after.get((topic, span.partition), span.start)
        return replace(span, start=start) if span.start <= start <= span.end else span  # else it is another log


def _state_in_ledger(pipeline: Pipeline, logs: _Logs, job: JobEntry) -> tuple[State, int] | None:
    """How the job has ended by the ledger of its queue, and when, in ms, where it has not by anything else."""
    if job.state.has_ended or job.queue not in pipeline.queues:
        return None
    from ..stored_jobs.errors import TopicAbsent

    named: tuple[State, int] | None = None
    with suppress(TopicAbsent):
        for message in logs.messages(pipeline.find_queue(job.queue).ledger_topic):
            at_ms = message.timestamp()[1]
            named = next(((state, at_ms) for name, state in ended_by(message) if _is_name_of(job, name, at_ms)), named)
    return named


def _is_name_of(job: JobEntry, name: str, at_ms: int) -> bool:
    """Whether a name that the ledger got then is that of a job, not of an earlier one with its idempotency key."""
    named, place = job_and_place(name)
    if place and place != f"{job.topic}/{job.partition}/{job.offset}":
        return False
    if not job.names:
        return named == job.job_id
    return named in job.names and (bool(job.life) or not is_of_earlier_job(job.enqueued_ms, at_ms))


def _ended(job: JobEntry, dispositions: Iterable[DispositionEntry], named: tuple[State, int] | None) -> JobEntry:
    """The job with what ended it beside its own records and events."""
    place = (job.topic, job.partition, job.offset)
    discarded = next((one for one in dispositions if (one.topic, one.partition, one.offset) == place), None)
    if job.state is State.DEAD and discarded is not None:
        return replace(job, state=State.DEAD_DISCARDED, at_ms=discarded.at_ms)
    if named is None:
        return job
    state, at_ms = named
    return replace(job, state=state, step=reconciled_step(job.step), at_ms=at_ms, began_ms=0, took_us=-1, due_ms=0)


def _once(history: Iterable[HistoryEntry]) -> Iterator[ListedHistoryEntry]:
    """Each failed run once, though its event and its record both hold it; the event knows when it began."""
    found: dict[tuple[int, int, str, int], HistoryEntry] = {}
    for item in history:
        is_repeatable = item.kind in ("snoozed", "deferred")
        key = (item.life, item.attempt, item.kind, item.at_ms if is_repeatable else 0)
        known = found.get(key)
        if known is None or (item.began_ms and not known.began_ms):
            found[key] = item
    for item in found.values():
        yield ListedHistoryEntry(
            kind=item.kind,
            life=item.life,
            attempt=item.attempt,
            at=instant_of(item.at_ms),
            began=instant_of(item.began_ms) if item.began_ms else None,
            due=instant_of(item.due_ms) if item.due_ms else None,
            worker=item.worker,
            release=item.release,
            error_type=item.error_type,
            fingerprint=item.fingerprint,
            message=item.message,
            stack=item.stack,
            reason=item.reason,
            detail=item.detail,
        )


def listed_of(entry: JobEntry) -> ListedJob:
    """The job as a list shows it, by one entry of it."""
    failure = next(
        (one for one in reversed(entry.history) if one.error_type), HistoryEntry(kind="", attempt=0, at_ms=0)
    )
    return ListedJob(
        job_id=entry.job_id,
        job_type=entry.job_type,
        queue=entry.queue,
        state=entry.state,
        tenant=entry.tenant,
        key=entry.key,
        attempt=attempt_of_step(entry.step),
        enqueued=instant_of(entry.enqueued_ms or entry.at_ms),
        changed=instant_of(entry.at_ms),
        began=instant_of(entry.began_ms) if entry.began_ms else None,
        took=timedelta(microseconds=entry.took_us) if entry.took_us >= 0 else None,
        due=instant_of(entry.due_ms) if entry.due_ms else None,
        worker=entry.worker,
        release=entry.release,
        source=entry.source,
        place=f"{entry.topic}/{entry.partition}/{entry.offset}",
        error_type=failure.error_type,
        fingerprint=failure.fingerprint,
        message=failure.message,
        known_from=known_from(entry.step, entry.state),
    )
