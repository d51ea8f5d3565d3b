"""`Account`: what truly happened, kept outside of the worker, and held against each step that it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

from confluent_kafka import Message

from simulation.brokers import Place, SimBrokers
from simulation.deaths import Deaths
from simulation.followers import FOLLOWED_TOPIC
from simulation.jobs import Job, Run, Written
from simulation.known import Known, known_of
from simulation.oracles.uniqueness import Uniqueness
from simulation.pairs import check_dead_letter, check_named, check_next_record, check_not_passed, name_of
from simulation.processes import Running, SimProcess
from simulation.virtual_time import CLOCK
from stoker.consumers.partitions.carried import copied_from, read_place
from stoker.consumers.partitions.ledger import moved_name, tried_name
from stoker.consumers.partitions.ledger_records import names_of
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, SKIPPED, Cancelled, Dead, Deferred, Delayed, Outcome, Retried
from stoker.consumers.records.record import Record, attempt_of
from stoker.consumers.settling.writes import utc
from stoker.consumers.sources.source import MAIN, sources_of
from stoker.schemas import decode_own, is_own
from stoker.topology import Queue
from stoker.topology.declaration.priorities import NORMAL
from stoker.topology.wire.commit_metadata import CommitMetadata
from stoker.topology.wire.headers import DUE, JOB_ID, REASON, parse_instant
from stoker.topology.wire.ledger_names import MOVED

BEGUN_ANEW = Known(CommitMetadata(committed_offset=0, position=0), 0, frozenset())
"""What is known to be complete where offsets went back: nothing."""


class Account:
    """All jobs of one simulation.

    Attributes:
        remembers, tells: whether ledgers hold all that happens here, and whether commits can say who is at work.
        followed: the names of which a second record was written, where ends of jobs write one.
        durable: {name on the ledger's topic: the step at which it came there}.
        seen: {assignment: the step at which what it needs was read}.
        deaths: whom jobs have killed.
        is_disturbed: whether anything happened after which a job may run twice.
    """

    def __init__(
        self,
        brokers: SimBrokers,
        queue: Queue,
        *,
        remembers: bool,
        tells: bool,
        is_followed: bool = False,
        may_be_early: Callable[[str], bool] = lambda _job_id: False,
        uniqueness: Uniqueness | None = None,
    ) -> None:
        self._may_be_early = may_be_early
        self.uniqueness = uniqueness
        self._brokers = brokers
        self._remembers = remembers
        self._tells = tells
        self._is_followed = is_followed
        self._queue = queue
        self._sources = sources_of(queue)
        self._keys: defaultdict[tuple[bytes, str], list[Job]] = defaultdict(list)
        self._remembered: dict[SimProcess, dict[str, float]] = defaultdict(dict)
        self.jobs: dict[str, Job] = {}
        self.written: defaultdict[Place, dict[int, Written]] = defaultdict(dict)
        self.followed: set[str] = set()
        self._ended: defaultdict[int, set[str]] = defaultdict(set)
        self.durable: dict[tuple[int, str], int] = {}
        self.seen: dict[Assignment, int] = {}
        self.complete_before: dict[Assignment, Known] = {}
        self.deaths = Deaths(queue)
        self.step = 0
        self.is_disturbed = False
        brokers.on_append = self._note_written
        brokers.on_commit = self._note_commit

    # ---- what is on the topics

    def _note_written(self, message: Message) -> None:
        self.step += 1
        topic, partition = message.topic() or "", message.partition() or 0
        if topic == self._queue.ledger_topic:
            self._note_durable(message, partition)
        elif topic == FOLLOWED_TOPIC:
            self.followed.add(str(message.key() or b"", "utf-8"))
        elif topic == self._queue.dead_topic:
            self._note_dead_letter(message, partition)
        elif topic == self._queue.progress_topic:
            self._check_all_committed(partition)
        else:
            self._note_written_job(message, (topic, partition))

    def _note_durable(self, message: Message, partition: int) -> None:
        key = message.key() or b""
        key, value = key if isinstance(key, bytes) else key.encode(), message.value() or b""
        for name in names_of(key, value):
            check_named(name, self._ended[partition])
            self.durable.setdefault((partition, name), self.step)
            if self._is_followed and _has_ended(name, value):
                assert name in self.followed, f"the ledger has {name}, and the record that is to follow it is not there"

    def _note_dead_letter(self, dead: Message, partition: int) -> None:
        job = self._job(dead)
        check_dead_letter(job, dead)
        job.is_dead_letter = True
        if dict(dead.headers() or [])[REASON] == b"too-large":  # what was to be a retry, or to wait
            job.ends.append(Dead.__name__)
            self._ended[partition].update(tried_name(written.record) for written in job.records)
        self.deaths.check_dead_letter(dead)

    def _job(self, message: Message) -> Job:
        job_id = dict(message.headers() or [])[JOB_ID]
        return self.jobs[job_id.decode() if isinstance(job_id, bytes) else str(job_id)]

    def _note_written_job(self, message: Message, place: Place) -> None:
        record = Record(message, Assignment(0, *place, source=self._sources.get(place[0], MAIN)))
        names = frozenset({record.deduplication_id or "", tried_name(record), moved_name(record)})
        written, job = Written(record, place, names), self._job(message)
        if job.records:
            check_next_record(job, record)
        self.written[place][record.offset] = written
        job.records.append(written)
        if self.uniqueness is not None:
            self.uniqueness.note_enqueued(job)

    def add_job(self, job_id: str, key: bytes | None, *, is_delayed: bool, priority: str = NORMAL) -> None:
        """Expect a job, before its record is written."""
        is_free = key is None or is_delayed or self._queue.ordering == "none"
        of_lane = self._keys[key or b"", priority]
        self.jobs[job_id] = Job(job_id, key, None if is_free else len(of_lane), priority)
        if not is_free:
            of_lane.append(self.jobs[job_id])

    # ---- commits: nothing is said to be complete whose outcome is not durable

    def _note_commit(self, place: Place, member: object) -> None:
        self.check_committed(place)
        if isinstance(member, SimProcess) and member.is_alive:
            check_not_passed(member, place, self._meant_by_commit(member, place), self._waits_as_copy)

    def _waits_as_copy(self, record: Record) -> bool:
        """Whether a copy of a record is there that a successor would run."""
        return any(
            written.place[0] == self._queue.carried_topic
            and not self.known_to_successor(written.place).is_complete(written.record.offset)
            for written in self.jobs[record.headers[JOB_ID].decode()].records
        )

    def _check_all_committed(self, partition: int) -> None:
        for place in list(self._brokers.committed):
            if place[1] == partition:
                self.check_committed(place)

    def check_committed(self, place: Place) -> None:
        """What a successor would take for complete is settled for good."""
        state = self.known_to_successor(place)
        for written in self.written[place].values():
            if state.is_complete(written.record.offset):
                assert self._is_settled(written), f"{written.record} is committed as complete, and is not settled"

    def known_to_successor(self, place: Place) -> Known:
        """What the commit says, and the chunks of the progress topic where it refers to them."""
        return known_of(self._brokers, place, self._queue.progress_topic)

    def _meant_by_commit(self, member: SimProcess, place: Place) -> Known:
        """What the process itself means by its commit.

        Where it refers to chunks of the owner before, perhaps an earlier assignment of the same process, a successor
        may know more: one that was cut off still writes there what it has settled.
        """
        known, own = self.known_to_successor(place), member.assignments.find(*place)
        spilled_at = known.state.spilled_at
        if own is None or spilled_at is None or spilled_at.epoch == member.epoch_of(own):
            return known
        return self.complete_before.get(_restored(own), BEGUN_ANEW)

    def _is_settled(self, written: Written) -> bool:
        if self._is_named(written):
            return True
        if written.was_skipped or self._is_copied(written):
            return self._is_safe_elsewhere(written)
        return False

    def _is_named(self, written: Written) -> bool:
        """Whether the ledger has a name of it."""
        return any((written.place[1], name) in self.durable for name in written.names)

    def _is_copied(self, written: Written) -> bool:
        """Whether a record is a copy that was carried forward, or has one."""
        own, job = read_place(str(written.record).encode()), self.jobs[written.record.headers[JOB_ID].decode()]
        return written.place[0] == self._queue.carried_topic or any(copied_from(o.record) == own for o in job.records)

    def _is_safe_elsewhere(self, written: Written) -> bool:
        """A record may be skipped for what its process knows of its twin, though that is not durable yet."""
        job = self.jobs[written.record.headers[JOB_ID].decode()]
        return job.is_over or any(
            tried_name(other.record) == tried_name(written.record)
            and (self._is_named(other) or not self.known_to_successor(other.place).is_complete(other.record.offset))
            for other in job.records
            if other is not written
        )

    # ---- assignments

    def note_restored(self, process: SimProcess, added: list[Assignment]) -> None:
        """These have read what they need."""
        for assignment in added:
            self.seen[assignment] = self.step
            self.complete_before[assignment] = self.known_to_successor((assignment.topic, assignment.partition))

    def note_dead(self, process: SimProcess) -> None:
        """Its runs are cut."""
        self.is_disturbed = True
        for job in self.jobs.values():
            for run in job.runs:
                if run.process is process and run.goes_on:
                    run.is_cut = True

    def note_worker_killed(self, record: Record) -> None:
        """A job kills the process that it runs in; where its partition has gone already, nobody can know why."""
        if not self._run_of(record).is_late:
            self.deaths.note_worker(record, len(self.jobs[record.headers[JOB_ID].decode()].records))

    def note_child_killed(self, process: SimProcess, record: Record, outcome: Outcome | None) -> None:
        """A job has killed its child: its run is cut, at no attempt's cost; it has an outcome once that is enough."""
        self._run_of(record).is_cut = True
        begun = _restored(record.assignment)
        self.deaths.note_child(record, begun, self.complete_before[begun].state, outcome)
        if outcome is not None:
            self.note_end(process, record, outcome)

    # ---- runs

    def begin_run(self, process: SimProcess, running: Running) -> None:
        """Hold the beginning of a run against everything that was guaranteed of it."""
        self.step += 1
        record = running.record
        job, attempt = self.jobs[record.headers[JOB_ID].decode()], attempt_of(record.headers)
        if DUE in record.headers and not self._may_be_early(job.job_id):
            assert utc(CLOCK.time()) >= parse_instant(record.headers[DUE]), f"{record} runs early"
        assert attempt == 1 or attempt - 1 in job.failed, f"{record}: attempt {attempt - 1} has not failed"
        self._check_is_open(process, record.assignment)
        if self._remembers:
            self._check_is_not_settled(process, record)
            self._check_explained(job, record, attempt)
        state = self.complete_before.get(record.assignment, BEGUN_ANEW)
        assert not state.is_complete(record.offset), f"{record} was complete before"
        self._check_alone(process, job)
        self._check_order(job)
        if self.uniqueness is not None:
            self.uniqueness.begin_run(process, record, job.job_id)
        job.runs.append(Run(process, record.assignment, record, attempt, self.step))

    def _check_is_open(self, process: SimProcess, assignment: Assignment) -> None:
        """The next owner can tell that somebody was at work, before the first job is."""
        offset, metadata = self._brokers.committed.get((assignment.topic, assignment.partition), (0, ""))
        state = CommitMetadata.decode(metadata, offset)
        is_known = state is not None and state.is_open
        assert is_known or not self._tells or process.is_fenced, f"{assignment.topic} is at work and does not say so"

    def _check_is_not_settled(self, process: SimProcess, record: Record) -> None:
        assignment = record.assignment
        written = self.written[assignment.topic, assignment.partition][record.offset]
        for name in written.names:
            at = self.durable.get((assignment.partition, name))
            assert at is None or at > self.seen[_restored(assignment)], (
                f"{record} runs, though {name} was durable before"
            )
        done_s = self._remembered[process].get(f"{assignment.partition} {record.deduplication_id}", 0.0)
        assert CLOCK.time() - done_s > 100, f"{record} runs again in the process that has done its job"

    def _check_alone(self, process: SimProcess, job: Job) -> None:
        """Of a key one job runs at a time, but for runs of those whose partition has gone to another."""
        if job.key is None or self._queue.ordering == "none" or process.is_fenced:
            return
        for other in self.jobs.values():
            if other.key == job.key:
                assert not any(run.goes_on and not run.is_late for run in other.runs), f"{job.job_id} is not alone"

    def _check_order(self, job: Job) -> None:
        if job.key is None or job.order is None or job.runs:
            return
        for earlier in self._keys[job.key, job.priority][: job.order]:
            if self._queue.ordering == "strict":
                assert earlier.is_over, f"{job.job_id} begins before {earlier.job_id} has ended"
            else:
                assert earlier.runs or earlier.is_over or earlier.is_deferred, (
                    f"{job.job_id} begins before {earlier.job_id} has begun"
                )

    def _check_explained(self, job: Job, record: Record, attempt: int) -> None:
        """A second run of an attempt needs a reason: the first was cut, or nobody could know of its end."""
        for run in job.runs:
            is_same = tried_name(run.record) == tried_name(record) and isinstance(run.outcome, Retried | Dead)
            if is_same or run.outcome is DONE:
                assert run.assignment is not record.assignment, f"{record}: its attempt {attempt} has run here"

    def end_run(self, process: SimProcess, running: Running, outcome: Outcome) -> None:
        """Take note of how a run ended."""
        record = running.record
        job = self.jobs[record.headers[JOB_ID].decode()]
        run = self._run_of(record)
        run.outcome = outcome
        if isinstance(outcome, Retried):
            job.failed.add(run.attempt)
            assert outcome.next_attempt == run.attempt + 1
            self._check_delay(outcome, run.attempt)
        if isinstance(outcome, Dead) and outcome.reason == "attempts-spent":
            assert run.attempt == self._queue.retry.attempts
        self.note_end(process, record, outcome)

    def _run_of(self, record: Record) -> Run:
        job = self.jobs[record.headers[JOB_ID].decode()]
        return next(run for run in job.runs if run.record is record and run.goes_on)

    def _check_delay(self, outcome: Retried, attempt: int) -> None:
        if "asked" not in outcome.failure.message:
            wanted = self._queue.tiers[min(attempt - 1, len(self._queue.tiers) - 1)]
            assert outcome.due - utc(CLOCK.time()) >= wanted - timedelta(milliseconds=1)

    def note_end(self, process: SimProcess, record: Record, outcome: Outcome) -> None:
        """Take note of what became of a record, whether it ran or not."""
        job = self.jobs[record.headers[JOB_ID].decode()]
        if self.uniqueness is not None:
            self.uniqueness.note_end(process, record, outcome, job.job_id)
        place = record.assignment.topic, record.assignment.partition
        self._ended[place[1]].add(name_of(record, outcome) or "")
        job.is_deferred = job.is_deferred or isinstance(outcome, Deferred | Delayed)
        if outcome is SKIPPED:
            self.written[place][record.offset].was_skipped = True
        elif outcome is DONE or isinstance(outcome, Cancelled | Dead):
            job.ends.append(type(outcome).__name__)
        if isinstance(outcome, Cancelled) and outcome.reason == "discarded":
            self.note_remembered(process, record)

    def note_remembered(self, process: SimProcess, record: Record) -> None:
        """The process knows from now on that a job is over, as long as it has its partition."""
        if record.assignment.partition in process.assignments.ledgers.present:
            self._remembered[process][f"{record.assignment.partition} {record.deduplication_id}"] = CLOCK.time()


def _restored(assignment: Assignment) -> Assignment:
    """The one that read what its partition needs: itself, or the one of which it goes on with the partition."""
    return assignment if assignment._replaced is None else _restored(assignment._replaced)


def _has_ended(name: str, value: bytes) -> bool:
    """Whether an entry of the ledger is of a job that is done, or of an attempt that has failed."""
    return name.rpartition("@")[2].count("#") == 1 if _is_moved(name) else not _is_cancelled(value)


def _is_moved(name: str) -> bool:
    """Whether the name is of a record or an attempt."""
    return name.startswith(MOVED)


def _is_cancelled(value: bytes) -> bool:
    """Whether an entry is of a job that discarded itself."""
    return is_own("LedgerEntry", value) and decode_own("LedgerEntry", value)["outcome"] == "cancelled"
