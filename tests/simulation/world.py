"""`World`: jobs, brokers, processes, and what may happen to them, in steps small enough to fall between any two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Literal

from confluent_kafka import TopicPartition

from simulation.account import Account
from simulation.brokers import Place, SimBrokers
from simulation.children import CHILD_DIED
from simulation.clients import Fate, ProcessKilled
from simulation.fleets.breakers import Log
from simulation.followers import FOLLOWED_WRITERS
from simulation.holding import TARGETS, SimControl, SimGate
from simulation.oracles.limiting import CHANGES, BeginsOfKeys, limits_of
from simulation.oracles.uniqueness import MODES, Uniqueness
from simulation.pairs import check_restored
from simulation.processes import Running, SimProcess
from simulation.registry import SimRegistry
from simulation.virtual_time import CLOCK, START_S
from stoker.consumers.isolation.suspects import SUSPECT_AFTER
from stoker.consumers.job.endings import Discard, Retry, Snooze
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.settling.writes import WRITERS, utc
from stoker.consumers.steps.results import RETURNED_NOTHING, Raised, Result
from stoker.consumers.steps.steps import DecodedJob
from stoker.schemas import Contract
from stoker.schemas.own_records.control_records import RecordPlace
from stoker.topology import Queue, RetryPolicy
from stoker.topology.declaration.priorities import NORMAL
from stoker.topology.declaration.queue import LedgerWindow, Ordering
from stoker.topology.wire import headers as wire
from stoker.topology.wire.headers import HeaderList
from stoker.topology.wire.orders import Verb
from support.scenes.deliveries import declare
from support.scenes.instruments import CountingInstrument

Ending = Literal["done", "fail", "permanent", "discard", "snooze", "ask"]
TIERS = (timedelta(seconds=1), timedelta(seconds=10))
SHORT_RETENTION = timedelta(seconds=12)
PARTITIONS = 2
PRIORITIES = {"high": 8, "normal": 3, "low": 1}
KEYS: Sequence[tuple[bytes | None, int]] = ((b"a", 0), (b"b", 0), (b"c", 1), (None, 0))


class PermanentError(Exception):
    """No further attempt can fix it."""


RESULTS: dict[Ending, Callable[[], Result]] = {
    "done": lambda: RETURNED_NOTHING,
    "fail": lambda: Raised(ValueError("it failed")),
    "permanent": lambda: Raised(PermanentError("for good")),
    "discard": lambda: Raised(Discard("not needed")),
    "snooze": lambda: Raised(Snooze(timedelta(seconds=2))),
    "ask": lambda: Raised(Retry("asked", after=timedelta(seconds=5))),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one simulation is like.

    Attributes:
        metadata_limit: what the brokers take, in characters.
        large_every: which jobs are too large for tiers, each second of them for the dead letters as well; 0 for none.
        newer_every: which jobs come with a schema that only the registry knows, once it is there; 0 for none.
        deadly_every: which jobs kill the process that they run in; 0 for none.
        goes_back: whether offsets go back while their partition is at work.
        is_forgetful: whether the ledger holds no more than the last few jobs, so that progress alone must tell what is
            complete.
        is_followed: whether ends of jobs write a second record.
        is_watched: whether each process has an instrument that counts.
        is_short_lived: whether topics keep their records for some seconds only, so that what waits is carried forward.
        is_gated: whether each process has a gate that holds back and lets pass by chance.
        is_limited: whether the queue limits how often jobs of a key begin.
        is_fair: whether tenants share the runners; each has some of the keys, and hardly any room in memory.
        is_ordered: whether operators give orders.
        has_priorities: whether jobs have one of three priorities.
        has_breaker: whether failures open a breaker, and one job probes.
        unique: how the jobs of a key are unique, each second of them under another identity; a name of `MODES`.
        spills_beyond: how many runs of incomplete offsets the processes believe to fit a commit; None leaves that to
            find out.
    """

    ordering: Ordering = "key"
    metadata_limit: int = 4_096
    spills_beyond: int | None = None
    goes_back: bool = False
    is_forgetful: bool = False
    is_followed: bool = False
    deadly_every: int = 0
    large_every: int = 0
    newer_every: int = 0
    is_gated: bool = False
    is_limited: bool = False
    is_fair: bool = False
    is_ordered: bool = False
    has_breaker: bool = False
    is_watched: bool = False
    is_short_lived: bool = False
    has_priorities: bool = False
    unique: str | None = None


def work(number: int) -> None:
    """What a child can import, and nothing runs."""


def newer_work(number: int, colour: str = "red") -> None:
    """What a newer producer sends."""


NEWER = Contract.of_function(newer_work, job_type="work", namespace="unit")
NEWER_VALUE = NEWER.header + NEWER.encode(NEWER.payload((1, "blue"), {}))


_ORDERINGS: tuple[Ordering, ...] = ("key", "none", "strict")
_DECLARED = {
    (ordering, is_forgetful, is_short_lived, unique, is_limited, has_priorities, is_fair): declare(
        work,
        priorities=PRIORITIES if has_priorities else {},
        ordering=ordering,
        partitions=PARTITIONS,
        tiers=TIERS,
        retry=RetryPolicy(attempts=3, permanent=(PermanentError,)),
        ledger=LedgerWindow(jobs=4) if is_forgetful else LedgerWindow(),
        retention=SHORT_RETENTION if is_short_lived else timedelta(days=7),
        limits=limits_of(ordering) if is_limited else (),
        fair_by="tenant" if is_fair else None,
    )
    for ordering in _ORDERINGS
    for is_forgetful in (False, True)
    for is_short_lived in (False, True)
    for unique in (None, *MODES)
    for is_limited in (False, True)
    for has_priorities in (False, True)
    for is_fair in (False, True)
    if not (has_priorities and (ordering == "strict" or unique or is_fair))
}
for _shape, _delivery in _DECLARED.items():
    if _shape[3] is not None:
        _delivery.queue.unique["work"] = MODES[_shape[3]]
VALUE = _DECLARED["key", False, False, None, False, False, False].payload()
TIER_BYTES, DEAD_LETTER_BYTES = 3_000, 6_000
"""What topics take, where some jobs are large."""
MOST_FORMS = 10
LEAST_METADATA = 100
"""Below it, it may be that the brokers take none."""


class World:
    """One simulation, from its empty topics on."""

    def __init__(self, shape: Shape) -> None:
        CLOCK.now_s = START_S
        named = shape.ordering, shape.is_forgetful, shape.is_short_lived, shape.unique
        declared = _DECLARED[*named, shape.is_limited, shape.has_priorities, shape.is_fair]
        self._pipeline = declared.pipeline
        self.queue: Queue = declared.queue
        self.shape = shape
        self.brokers = SimBrokers(shape.metadata_limit)
        if shape.large_every:
            later = (*self.queue.retry_topics.values(), *self.queue.delay_topics.values())
            self.brokers.limits = dict.fromkeys(later, TIER_BYTES)  # a copy that is carried forward gets no larger
            self.brokers.limits[self.queue.dead_topic] = DEAD_LETTER_BYTES
        self.registry = SimRegistry(NEWER)
        targets = [*TARGETS, *((Verb.LIMIT, change) for change in CHANGES)] if shape.is_limited else TARGETS
        self.control = SimControl(targets) if shape.is_ordered else None
        self.begins = BeginsOfKeys() if shape.is_limited else None
        self.breaker_log = Log() if shape.has_breaker else None
        self.account = Account(
            self.brokers,
            self.queue,
            remembers=not shape.is_forgetful,
            tells=shape.metadata_limit >= LEAST_METADATA,
            is_followed=shape.is_followed,
            uniqueness=None if shape.unique is None else Uniqueness(MODES[shape.unique]),
            may_be_early=lambda job_id: self.control is not None and self.control.may_be_early(job_id),
        )
        self.processes: list[SimProcess] = []
        self.owners: dict[int, SimProcess] = {}
        self._numbers = count(1)
        self.topics = self.queue.job_topics
        self.is_ending = False

    # ---- producers and operators

    def enqueue(self, choice: int, *, due_in_s: float | None = None, expires_in_s: float | None = None) -> None:
        """An acknowledged job."""
        key, partition = KEYS[choice % len(KEYS)]
        job_id = f"j{len(self.account.jobs)}"
        headers: HeaderList = [
            (wire.JOB_ID, job_id.encode()),
            (wire.JOB_TYPE, b"work"),
            (wire.TIME, wire.format_instant(utc(CLOCK.time()))),
        ]
        if self.shape.is_fair and key is not None:
            headers.append((wire.TENANT, key[:1]))
        elif len(self.account.jobs) % 2:
            headers.append((wire.TENANT, b"t%d" % partition))
        if self.shape.unique is not None and key is not None:
            headers.append((wire.UNIQUE, b"work:%d" % (len(self.account.jobs) % 2)))
        if due_in_s is not None:
            headers.append((wire.DUE, wire.format_instant(utc(CLOCK.time() + due_in_s))))
        if expires_in_s is not None:
            headers.append((wire.EXPIRES, wire.format_instant(utc(CLOCK.time() + expires_in_s))))
        if self._is_nth(self.shape.deadly_every):
            self.account.deaths.deadly.add(job_id.encode())
        if large := self._is_nth(self.shape.large_every):
            headers.append(("x-large", b"x" * (TIER_BYTES if large % 2 else DEAD_LETTER_BYTES)))
        value = NEWER_VALUE if self._is_nth(self.shape.newer_every) else VALUE
        priority = list(PRIORITIES)[choice // len(KEYS) % len(PRIORITIES)] if self.shape.has_priorities else NORMAL
        if priority != NORMAL:
            headers.append((wire.PRIORITY, priority.encode()))
        self.account.add_job(job_id, key, is_delayed=due_in_s is not None, priority=priority)
        self.brokers.append(self.queue.topic_of(priority), partition, key, value, headers)

    def _is_nth(self, every: int) -> int:
        """The how manieth of these jobs the next one is; 0 where it is none."""
        number = len(self.account.jobs) + 1
        return 0 if every == 0 or number % every else number // every

    def order(self, choice: int) -> None:
        """An operator gives an order, perhaps about a job, or lifts it."""
        if self.control is not None:
            jobs = [*self.account.jobs, f"j{len(self.account.jobs)}"]
            given = len(self.control.log)
            job_id = jobs[given * 5 % len(jobs)]
            self.control.order(choice + given, job_id, self._place_of(job_id) if choice % 3 else None)

    def _place_of(self, job_id: str) -> RecordPlace | None:
        """Where the last record of a job is, as an operator would find it."""
        job = self.account.jobs.get(job_id)
        if job is None or job.records[-1].place[0] not in self.queue.waiting_topics:
            return None
        topic, partition = job.records[-1].place
        return RecordPlace(topic=topic, partition=partition, offset=job.records[-1].record.offset)

    def repeat(self, choice: int) -> None:
        """A producer publishes a job once more, for it had no answer."""
        jobs = [job for job in self.account.jobs.values() if job.records[0].place[0] == self.queue.topic]
        if jobs:
            job = jobs[choice % len(jobs)]
            job.is_repeated, record = True, job.records[0].record
            self.brokers.append(
                self.queue.topic, record.assignment.partition, record.key, record.value, list(record.pairs)
            )

    def leave_gap(self, choice: int) -> None:
        """A transaction's marker takes an offset."""
        log = self.brokers.logs[self._place(choice)]
        if log.open_at is None:
            log.begin_transaction()
            log.end_transaction()

    def hold_reads(self, choice: int) -> None:
        """A replay's transaction begins, or ends: what is written meanwhile is read only when it has ended.

        On the main topic, since tiers are written by workers alone, which have none.
        """
        log = self.brokers.logs[self.queue.topic, choice % PARTITIONS]
        if log.open_at is None:
            log.begin_transaction()
        else:
            log.end_transaction()

    def end_transactions(self) -> None:
        """All that are open end."""
        for log in self.brokers.logs.values():
            if log.open_at is not None:
                log.end_transaction()

    def compact_progress(self, choice: int) -> None:
        """Of the progress topic of one partition, the last record of each key is left."""
        self.brokers.logs[self.queue.progress_topic, choice % PARTITIONS].compact()

    def damage_progress(self, choice: int) -> None:
        """A record of the progress topic is damaged, or deleted by an operator: what it holds counts as incomplete."""
        log = self.brokers.logs[self.queue.progress_topic, choice % PARTITIONS]
        if not log.records or self.shape.is_forgetful:
            return
        self.account.is_disturbed = True
        offset = list(log.records)[choice % len(log.records)]
        message = log.records.pop(offset)
        if choice % 3 and (value := message.value()):
            message.set_value(value[:-1] + bytes([value[-1] ^ 1]))
            log.records[offset] = message

    def remove_complete(self, choice: int) -> None:
        """Compaction or retention removes a record that is complete."""
        place = self._place(choice)
        log, state = self.brokers.logs[place], self.account.known_to_successor(place)
        complete = [offset for offset in log.records if state.is_complete(offset)]
        if complete:
            del log.records[complete[choice % len(complete)]]

    def cut_tail(self, choice: int) -> None:
        """Retention removes everything below the committed offset."""
        place = self._place(choice)
        log = self.brokers.logs[place]
        log.cut(min(self.brokers.committed.get(place, (0, ""))[0], log.high))

    def rewind(self, choice: int) -> None:
        """An operator sets a partition's offset back, which the group allows only while it is nobody's."""
        place = self._place(choice)
        if place[1] not in self.owners and place in self.brokers.committed:
            self.brokers.committed[place] = choice % (self.brokers.committed[place][0] + 1), ""
            self.account.deaths.excused += SUSPECT_AFTER

    def go_back(self, choice: int) -> None:
        """Offsets go back while the partition is at work."""
        place = self._place(choice)
        owner = self.owners.get(place[1])
        if self.shape.goes_back and owner is not None and owner.is_alive:
            owner.begin_again(place, choice // 2)
            self.account.is_disturbed = True

    def set_registry(self, *, is_away: bool, has_newer: bool) -> None:
        """The registry goes or comes back; a newer producer registers its schema, or has not done so yet."""
        self.registry.is_away, self.registry.has_newer = is_away, has_newer or self.registry.has_newer

    def change_registry(self, choice: int) -> None:
        """It goes, or comes back."""
        self.set_registry(is_away=not self.registry.is_away, has_newer=choice % 3 == 0)

    def _place(self, choice: int) -> Place:
        return self.topics[choice % len(self.topics)], choice // 3 % PARTITIONS

    # ---- processes and the group

    def join(self, chance: float) -> SimProcess:
        """Start a process."""
        process = SimProcess(
            self.brokers,
            self._pipeline,
            self.queue,
            self.registry,
            next(self._numbers),
            chance,
            writers=FOLLOWED_WRITERS if self.shape.is_followed else WRITERS,
            gate=self._make_gate(),
            control=self.control,
            breaker_log=self.breaker_log,
            counts=CountingInstrument() if self.shape.is_watched else None,
            sweeps_promptly=lambda: self.is_ending or self.shape.is_short_lived,
        )
        if self.shape.spills_beyond is not None:
            process.spill_beyond(self.shape.spills_beyond)
        self.processes.append(process)
        return process

    def _make_gate(self) -> SimGate | None:
        """Shut for one key, until all faults end."""
        return SimGate({} if self.is_ending else {b"a": None}) if self.shape.is_gated else None

    def assign(self, process: SimProcess, partition: int, *, in_parts: bool) -> None:
        """The group gives it a partition that nobody has, with its tiers, in one go or one by one."""
        if partition in self.owners or process.is_fenced or not process.is_alive:
            return
        self.owners[partition] = process
        given = [TopicPartition(topic, partition) for topic in self.topics]
        for part in [[place] for place in given] if in_parts else [given]:
            process.assign(part)

    def restore(self, process: SimProcess, while_reading: Callable[[], None] = lambda: None) -> None:
        """What the oldest assignments need is read; others may move between the questions."""
        if process.unrestored:
            process.while_reading = while_reading
            added = process.unrestored[0]
            self.account.note_restored(process, added)
            starts = process.restore()
            after = {a: self.account.known_to_successor((a.topic, a.partition)) for a in starts}
            check_restored(starts, self.account.complete_before, after)

    def revoke(self, partition: int, wait_ended: Callable[[list[Assignment]], None]) -> None:
        """The group takes a partition back in order."""
        process = self.owners.get(partition)
        if process is not None and process.is_alive and not process.is_fenced:

            def wait(leaving: list[Assignment]) -> None:
                wait_ended(leaving)
                if not process.is_alive:
                    raise ProcessKilled
                self.account.is_disturbed |= any(assignment.unsettled for assignment in leaving)

            try:
                process.revoke([TopicPartition(topic, partition) for topic in self.topics], wait)
                del self.owners[partition]
            except ProcessKilled:
                self.kill(process)

    def expire(self, process: SimProcess) -> None:
        """The process was silent for longer than its session: its partitions may go to others.

        What it has sent is refused from then on, also if it is dead.
        """
        if not process.is_alive:
            process.unanswered.clear()
        lost = [partition for partition, owner in self.owners.items() if owner is process]
        for partition in lost:
            del self.owners[partition]
        if lost and process.is_alive:
            self.brokers.fenced.add(process)
            self.account.is_disturbed = True

    def kill(self, process: SimProcess) -> None:
        """No code of it runs any more."""
        if not process.is_alive:
            return
        process.is_alive = False
        self.account.note_dead(process)

    # ---- jobs

    def start(self, process: SimProcess, choice: int) -> None:
        """A runner takes a ready record."""
        if process.startable:
            record = process.startable[choice % len(process.startable)]
            process.between.act = lambda: process.take_orders_amid(record, choice) if choice % 3 == 0 else None
            begun = process.start(record)
            if isinstance(begun, DecodedJob):
                if process.orders is not None:
                    process.orders.check_may_begin(record)
                if self.begins is not None and self.owners.get(record.partition) is process:
                    self.begins.note(record, process.limits)
                self.account.begin_run(process, process.running[-1])
            elif begun is not None:
                self.account.note_end(process, record, begun)

    def learn(self, process: SimProcess) -> None:
        """The registry is asked for what records wait for."""
        for record, outcome in process.ask_for_schemas():
            self.account.note_end(process, record, outcome)

    def end(self, process: SimProcess, choice: int, ending: Ending, *, is_kept: bool = False) -> None:
        """A run ends, or what it runs in does; all that is done is handed over then, unless it is kept for later."""
        if process.running:
            running = process.running[choice % len(process.running)]
            if self.account.deaths.is_deadly(running.record):
                self._end_deadly(process, running)
            else:
                outcome = process.end(running, RESULTS[ending]())
                assert outcome is not None
                self.account.end_run(process, running, outcome)
                if not is_kept:
                    self.settle_done(process)

    def settle_done(self, process: SimProcess) -> None:
        """The jobs that are done are handed over, all at once: from here on the process knows of them."""
        for record in process.settle_done():
            self.account.note_remembered(process, record)

    def _end_deadly(self, process: SimProcess, running: Running) -> None:
        if running.is_in_child:
            outcome = process.end(running, CHILD_DIED)
            self.account.note_child_killed(process, running.record, outcome)
            return
        self.account.note_worker_killed(running.record)
        self.kill(process)
        if process.is_settling:
            raise ProcessKilled

    def settle(self, process: SimProcess, fates: Sequence[Fate], while_waiting: Callable[[], None]) -> None:
        """What has ended is settled, as far as the brokers take it; there is one thread for that."""
        if process.is_settling:
            return
        process.is_settling = True
        process.fates.clear()
        process.fates.extend(fates)
        process.while_waiting = while_waiting
        if "unanswered" in fates or "refused" in fates:
            self.account.is_disturbed = True
        try:
            process.settle()
        except ProcessKilled:
            self.kill(process)
        process.fates.clear()
        process.while_waiting = lambda: None
        process.is_settling = False

    def settle_all(self, process: SimProcess) -> None:
        """The same, until no record that goes alone is on its way: each answer may ask for another form of it."""
        self.settle(process, [], lambda: None)
        for _ in range(MOST_FORMS):
            if process.settler._lone:
                self.settle(process, [], lambda: None)
