"""`SimProcess`: one worker process, made of the worker's own parts; only threads and clients are simulated."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import inf
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from simulation.brokers import SimBrokers
from simulation.children import ReadyRecords, SimIsolatedRunners
from simulation.clients import Fate, SimAges, SimConsumer, SimProducer, SimSweepConsumer
from simulation.fleets.breakers import Log, PlayedBreakers
from simulation.holding import SimControl, SimGate, SimOrders
from simulation.registry import SimRegistry, SimStore
from simulation.virtual_time import CLOCK
from stoker.consumers.assembly.running import make_running
from stoker.consumers.backlog.rereader import Rereader
from stoker.consumers.backlog.tenant_lines import TenantLines
from stoker.consumers.carrying.carrier import Carrier, CarryingClients
from stoker.consumers.carrying.copies_aside import CopiesAside
from stoker.consumers.carrying.restored_jobs import RestoredJobs
from stoker.consumers.commits.commits import Commits
from stoker.consumers.commits.spill import Spill
from stoker.consumers.declared.intake_features import IntakeParts, make_intake
from stoker.consumers.declared.runner_parts import RunnerParts
from stoker.consumers.delays.calendar import Calendar
from stoker.consumers.delays.due_times import longest_wait_s
from stoker.consumers.fairness.fair_runners import FairRunners
from stoker.consumers.fairness.read_ahead import ReadAhead
from stoker.consumers.gates.gate import PlainWhy
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.leaving_records import MemoryBound
from stoker.consumers.gates.pauses import Pauses
from stoker.consumers.in_flight.completion import Completion
from stoker.consumers.in_flight.memory_bounds import MemoryBounds
from stoker.consumers.in_flight.ready_supply import ReadySupply
from stoker.consumers.in_flight.settled import SettledBatches
from stoker.consumers.instruments.instrument import Instrument
from stoker.consumers.instruments.instruments import Instruments
from stoker.consumers.isolation.crashes import ChildDied
from stoker.consumers.job.context import JobContext
from stoker.consumers.kafka.side_readers import PriorityReaders, SideReader
from stoker.consumers.limits.limits import Limits
from stoker.consumers.ordering.parking import Parking, ParkingLimits
from stoker.consumers.partitions.assignments import Assignments
from stoker.consumers.partitions.restore import read_left_behind
from stoker.consumers.partitions.restore_thread import Restoring
from stoker.consumers.partitions.start_positions import StartPosition
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.rebalance.partition_reading import PartitionReading
from stoker.consumers.rebalance.rebalance import Rebalance
from stoker.consumers.rebalance.taking_back import TakingBack
from stoker.consumers.records.outcomes import DONE, Outcome
from stoker.consumers.records.record import Record
from stoker.consumers.runners.kinds import Runners
from stoker.consumers.runners.slots import RunInSlot
from stoker.consumers.settings import WorkerSettings
from stoker.consumers.settling.ended_cancels import EndedCancels, note_ended_orders
from stoker.consumers.settling.event_publisher import EventPublisher
from stoker.consumers.settling.settle import SettledEvents, Settler, SettlingClients
from stoker.consumers.settling.settlement import SettlementBatch, notify_instruments
from stoker.consumers.settling.unique_records import writers_of
from stoker.consumers.settling.writes import WRITERS, Writer
from stoker.consumers.sources.source import Priority, Reader
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.standing_orders.reschedules import JobOrders, Reschedules
from stoker.consumers.steps.last_look import hold_back
from stoker.consumers.steps.results import Ran, Result
from stoker.consumers.steps.schema_waits import AwaitedSchema, SchemaWaits
from stoker.consumers.steps.steps import DecodedJob, StepContext
from stoker.schemas import Decoder
from stoker.topology import Pipeline, Queue
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.scenes.instruments import CountingInstrument

REFUSED = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
UNANSWERED = KafkaError(KafkaError.REQUEST_TIMED_OUT)
PARKED_IN_MEMORY = 2
"""All further records that wait behind others of their key are put aside."""
GATED_IN_MEMORY = 0
"""What a gate holds back is put aside, with its lane, in the next turn."""
CALENDAR_BYTES = 1_500
"""Three or four records that are not due are in memory; all others are known by their offsets."""


@dataclass(slots=True, eq=False)
class Running:
    """A job that runs, in its process's own threads or alone in a child; `way` is its way, suspended there."""

    job: DecodedJob
    is_in_child: bool
    way: Coroutine[Any, Any, None]

    @property
    def record(self) -> Record:
        """Its record."""
        return self.job.record


@dataclass(frozen=True, slots=True)
class Unrestored:
    """Stands for the thread that restores: assignments wait until the play goes on with it."""

    waiting: deque[list[Assignment]]

    def begin(self, added: list[Assignment]) -> None:
        """Let them wait."""
        self.waiting.append(added)


@dataclass(slots=True)
class Between(Instrument):
    """Lets something happen between the gates that a record has passed and the slot of its run."""

    act: Callable[[], None] = lambda: None

    def begun(self, record: Record, job: JobContext) -> None:
        """It is about to run."""
        self.act()


class NarrowReadAhead(ReadAhead):
    """It always reads ahead, past all tenants of which more than one record is in memory."""

    def __init__(self, lines: TenantLines, fair: FairRunners) -> None:
        super().__init__(lines, fair.loads, lambda: fair.ended, 1)
        self._share = 1
        self._is_on = True

    def _update_share(self) -> None:
        pass


@dataclass(eq=False)
class SimProcess:
    """One process.

    Attributes:
        fates: of its next writes; `commit_fates`: of its next commits that are waited for; `spill_fates`: of its next
            writes to the progress topic; `carry_fates`: of its next copies of records that wait.
        while_waiting, while_reading: what happens elsewhere while it waits for the answers to writes, or restores.
        unanswered: commits that were sent, in order.
        taken: ready records that a runner has taken and not begun, so that nobody can take them back.
        unrestored: assignments that wait to be restored, as they came.
        running: jobs that run; `frozen`: those of them that do not end.
        done: jobs that are done, and were not handed over yet: their lanes wait.
        ended: outcomes that were handed over and not yet noted.
    """

    brokers: SimBrokers
    pipeline: Pipeline
    queue: Queue
    registry: SimRegistry
    number: int
    chance: float = 0.0
    writers: Sequence[Writer] = WRITERS
    gate: SimGate | None = None
    control: SimControl | None = None
    breaker_log: Log | None = None
    between: Between = field(default_factory=Between)
    counts: CountingInstrument | None = None
    fates: deque[Fate] = field(default_factory=deque)
    commit_fates: deque[Fate] = field(default_factory=deque)
    spill_fates: deque[Fate] = field(default_factory=deque)
    carry_fates: deque[Fate] = field(default_factory=deque)
    while_waiting: Callable[[], None] = lambda: None
    while_reading: Callable[[], None] = lambda: None
    sweeps_promptly: Callable[[], bool] = lambda: False
    unanswered: deque[list[TopicPartition]] = field(default_factory=deque)
    unrestored: deque[list[Assignment]] = field(default_factory=deque)
    taken: list[Record] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    frozen: list[Running] = field(default_factory=list)
    done: deque[Record] = field(default_factory=deque)
    ended: dict[Record, Outcome] = field(default_factory=dict)
    is_settling: bool = False
    is_alive: bool = True

    def __post_init__(self) -> None:
        """Put the parts together as `make_queue` does."""
        queue, settings = self.queue, self._settings()
        watching = [self.between] if self.control is not None else []
        instruments = Instruments(watching if self.counts is None else [*watching, self.counts])
        self.cancels, self.reschedules = Cancels(), Reschedules()
        self.assignments = Assignments(queue)
        self.commits = Commits(
            self.assignments,
            Spill(queue, self._spilling_producer, self._make_epoch),
            settings.commit_interval,
            instruments=instruments,
        )
        ended_cancels = EndedCancels(self.cancels, self.assignments.ledgers.present)
        self.settled = SettledBatches(
            [
                partial(notify_instruments, instruments),
                partial(note_ended_orders, ended_cancels, self.reschedules),
            ]
        )
        self.events = EventPublisher(self.pipeline.events_topic, queue.name, self._events_producer)
        self.settler = Settler(
            queue,
            SettlingClients(make_shared=self._settling_producer, make_lone=self._lone_producer),
            worker_id=settings.worker_id,
            events=SettledEvents(publish=self.events.publish),
            on_settled=self.settled.put,
            writers=writers_of(queue, self.assignments.ledgers.find_unique) if queue.unique else self.writers,
            clock=CLOCK.time,
        )
        store = SimStore(self.registry)
        self.gates = GateRow(
            [] if self.gate is None else [self.gate],
            clock=CLOCK.time,
            is_cancelled=lambda record: self.cancels.has(record, queue.name),
            bound=MemoryBound(GATED_IN_MEMORY),
        )
        self.pauses = Pauses(self.gates)
        self.limits = Limits(self.gates, queue, self.pipeline.job_types, clock=CLOCK.time)
        self.gates.add([self.pauses, self.limits])
        self.breakers = None if self.breaker_log is None else self._make_breakers(self.breaker_log)
        self.waits = SchemaWaits(store, queue.name, self.gates.wait_set, self.gates.view, clock=CLOCK.time)
        self.step_context = StepContext(
            queue=queue,
            job_types=self.pipeline.job_types,
            decoder=Decoder(store, learn=self.waits.learn),
            ledgers=self.assignments.ledgers.present,
            unique=self.assignments.ledgers.find_unique,
            clock=CLOCK.time,
            chance=lambda: self.chance,
            instruments=instruments,
            cancels=self.cancels,
            gates=self.gates,
            reschedules=self.reschedules,
        )
        self.ready = ReadyRecords()
        self.parts = make_running(
            self.step_context,
            self.settler,
            self.events,
            settings,
            waits=self.waits,
            make_runners=self._make_runners,
            make_read_ahead=lambda lanes, fair, _settings: NarrowReadAhead(lanes.lines, fair),
        )
        self.parts.lanes.parking = Parking(ParkingLimits(PARKED_IN_MEMORY, patience_s=0.0))
        self.gates.start(self.parts.dispatch.make_ready)
        self.waits._defer = self.parts.deferral.defer
        self.pipe, self._settle_in_pipe = self.parts.pipe, self.parts.pipe._settle
        self.pipe._settle = self._settle
        self.calendar = Calendar(longest_wait_s(self.queue), CALENDAR_BYTES, self.reschedules)
        lanes, runners = self.parts.lanes, self.parts.runners
        self.memory_bounds = MemoryBounds(
            self.assignments,
            settings,
            self.parts.counts.count_taking_no_room,
            self.settled,
            ready_supply=ReadySupply(
                lambda: lanes.parking.is_nearly_full, lambda: runners.ready, least=2, clock=CLOCK.time
            ),
        )
        self.completion = Completion(self.settled, self.memory_bounds, self.parts.runners, self.parts.lanes)
        self.group_client = SimConsumer(self.brokers, self)
        self.tier_client = SimConsumer(self.brokers, self)
        self.consumer = cast(Consumer, self.group_client)
        self.rereader = Rereader(cast(Consumer, SimSweepConsumer(self.brokers, self, self.sweeps_promptly)))
        self.priority_clients = {Priority(name): SimConsumer(self.brokers, self) for name in queue.priority_topics}
        readers = {name: SideReader(cast(Consumer, client)) for name, client in self.priority_clients.items()}
        self.tiers, self.priorities = SideReader(cast(Consumer, self.tier_client)), PriorityReaders(readers)
        aside = CopiesAside(self.parts.lanes.backlog, self.parts.lanes.lines)
        self.restored = RestoredJobs(queue.topic, aside, self.gates.aside)
        self.carrier = Carrier(
            queue,
            self.assignments,
            self.parts.lanes,
            self.gates,
            self.rereader,
            clients=CarryingClients(ages=SimAges(self.brokers), make_producer=self._carrying_producer),
            clock=CLOCK.time,
        )
        self.rebalance = Rebalance(
            self.assignments,
            cast(Restoring, Unrestored(self.unrestored)),
            self.commits,
            reading=PartitionReading(
                self.assignments,
                self.parts.unbegun,
                self.parts.lanes,
                memory_bounds=self.memory_bounds,
                side_reader=self.tiers,
                priorities=self.priorities,
                restored=self.restored,
            ),
            taking_back=TakingBack(
                self.parts.unbegun,
                self.memory_bounds,
                self.calendar,
                rereader=self.rereader,
                carrier=self.carrier,
                restored=self.restored,
            ),
            carrier=self.carrier,
            threads=self.parts.threads,
        )
        intake = make_intake(
            IntakeParts(
                assignments=self.assignments,
                memory_bounds=self.memory_bounds,
                calendar=self.calendar,
                lanes=self.parts.lanes,
                gates=self.gates,
                unbegun=self.parts.unbegun,
                cancels=self.cancels,
                fair=self.parts.fair,
                read_ahead=self.parts.read_ahead,
                rebalance=self.rebalance,
                rereader=self.rereader,
                carrier=self.carrier,
                restored=self.restored,
                on_error=_refuse,
                find_end=lambda assignment: self.brokers.logs[assignment.topic, assignment.partition].high,
                instruments=instruments,
            )
        )
        self.intake, self.due_records, self.reread_records = intake.arriving, intake.due, intake.reread
        self.failed = SettlementBatch()
        self.orders: SimOrders | None = None
        self.orders = None if self.control is None else self._take_orders(self.control)

    def _make_breakers(self, log: Log) -> PlayedBreakers:
        return PlayedBreakers(self.pipeline.job_types["work"], f"w{self.number}", log, self.gates)

    def _take_orders(self, control: SimControl) -> SimOrders:
        """Take the orders that stand, before any job starts."""
        job_orders = JobOrders(self.cancels, self.reschedules)
        return SimOrders(
            control,
            self.queue,
            f"w{self.number}",
            self.pauses,
            job_orders,
            self._end_cancelled,
            self._end_cancelled_aside,
            limits=self.limits,
        )

    def _end_cancelled_aside(self) -> int:
        """As the one below; the jobs that wait aside are looked at as well."""
        cancelled = self._end_cancelled()
        if self.orders is not None:
            self.gates.wait_set.release_all_aside()
        return cancelled

    def _end_cancelled(self) -> int:
        """Interrupt the running jobs that are cancelled by now; they end when the play goes on with them."""
        if self.orders is not None:
            self.gates.wait_set.release_cancelled()
        cancelled = 0
        for running in (*self.running, *self.frozen):
            by, run = self.cancels.of(running.record, self.queue.name), running.job.run
            if by is not None and run.interrupt_reason is None:
                run.note_cancelled(by)
                run.interrupt("cancel")
                cancelled += 1
        return cancelled

    @property
    def is_fenced(self) -> bool:
        """Whether the group takes it for dead: its commits are refused until it notices."""
        return self in self.brokers.fenced

    def _make_runners(self, parts: RunnerParts) -> list[Runners[Any]]:
        self.isolated = SimIsolatedRunners(
            parts.step_context,
            parts.settings,
            lambda _record, _slot: None,
            deque[Record].clear,
            send_back=parts.pipe.send_back,
        )
        return [self.isolated, self.ready]

    def _settings(self) -> WorkerSettings:
        return WorkerSettings(
            concurrency=1, commit_interval=timedelta(0), worker_id=f"w{self.number}", max_in_flight=12
        )

    def _settling_producer(self) -> Producer:
        return cast(Producer, SimProducer(self.brokers, self.fates, self._wait_for_answers))

    def _lone_producer(self) -> Producer:
        return cast(Producer, SimProducer(self.brokers, self.fates, self._wait_for_answers, is_lone=True))

    def _events_producer(self) -> Producer:
        return cast(Producer, SimProducer(self.brokers, deque(), lambda: None))

    def _spilling_producer(self) -> Producer:
        return cast(Producer, SimProducer(self.brokers, self.spill_fates, lambda: None))

    def _carrying_producer(self) -> Producer:
        return cast(Producer, SimProducer(self.brokers, self.carry_fates, lambda: None))

    def _make_epoch(self) -> int:
        return next(self.brokers.epochs)

    def epoch_of(self, assignment: Assignment) -> int | None:
        """Under which an assignment writes chunks of its progress; None where it has written none."""
        chunks = self.commits._spill._chunks.get(assignment)
        return None if chunks is None else chunks.epoch

    def _wait_for_reading(self) -> None:
        self.while_reading()

    def _wait_for_answers(self) -> None:
        self.while_waiting()

    # ---- what the poll thread does, turn by turn

    def assign(self, given: list[TopicPartition]) -> None:
        """As `QueueWorker` does when the group gives it partitions."""
        self.rebalance.take(given)
        self.group_client.incremental_assign(given)
        self.group_client.pause(given)

    def restore(self) -> Mapping[Assignment, StartPosition]:
        """Read what the oldest assignments need; returns where they begin."""
        added = self.unrestored.popleft()
        if not any(assignment.is_active for assignment in added):
            return {}
        reader = cast(Consumer, SimConsumer(self.brokers, self, self._wait_for_reading))
        start_positions: dict[Assignment, StartPosition] = {}
        for restored in read_left_behind(reader, self.queue, added, lambda: False):
            self.assignments.receive_restored(restored)
            start_positions.update(restored.start_positions)
        return start_positions

    def begin_restored(self) -> None:
        """Begin with what was restored, and what was opened."""
        self.rebalance.begin_restored(self.consumer)

    @property
    def retakes_at_s(self) -> float | None:
        """When a partition is taken again, that was given up to be restored anew; None where none is."""
        return min((retake.until_at_s for retake in self.rebalance._retakes), default=None)

    @property
    def is_carrying(self) -> bool:
        """Whether records are being written again before they are too old."""
        return bool(self.carrier._old or self.carrier._reading or self.carrier._written)

    def commit(self) -> None:
        """Send what has changed."""
        self.commits.commit_if_due(self.consumer)

    def fetch(self, limit: int) -> None:
        """Take records of the main topic."""
        if self.memory_bounds.may_fetch() and not self.memory_bounds.is_spared():
            self.intake.take(self.consumer.consume(max(1, min(limit, self.memory_bounds.room)), 0))

    def fetch_delayed(self, limit: int) -> None:
        """Take records of the tiers."""
        self.intake.take(self.tiers.fetch(limit))
        self.intake.take(self.priorities.fetch(inf, lambda _priority: limit))

    def begin_again(self, place: tuple[str, int], choice: int) -> None:
        """Read a partition that is at work once more, all of it or a part."""
        assignment = self.assignments.find(*place)
        if assignment is not None and assignment.is_running and not assignment.progress.is_catching_up:
            self._client_of(assignment).begin_again(place, choice)

    def _client_of(self, assignment: Assignment) -> SimConsumer:
        reader = assignment.source.reader
        if isinstance(reader, Priority):
            return self.priority_clients[reader]
        return self.group_client if reader is Reader.GROUP else self.tier_client

    def take_due(self) -> None:
        """Take held records that are due."""
        self.due_records.start_due()

    def reread(self) -> None:
        """Bring back records that lanes want."""
        self.reread_records.turn()

    def revoke(self, taken: list[TopicPartition], wait_ended: Callable[[list[Assignment]], None]) -> None:
        """Give partitions back in order."""
        self.rebalance.revoke(self.consumer, taken, wait_ended)
        self.group_client.incremental_unassign(taken)

    def lose(self) -> None:
        """Notice that all partitions are gone, after all commits of the time since were refused."""
        while self.unanswered:
            self.answer_commit("refused")
        taken = [TopicPartition(a.topic, a.partition) for a in self.assignments.all()]
        self.rebalance.lose(taken)
        self.group_client.incremental_unassign(taken)
        self.brokers.fenced.discard(self)

    # ---- commits

    def spill_beyond(self, runs: int) -> None:
        """Believe that no more runs of incomplete offsets fit a commit."""
        content = self.commits._content
        encode = content.with_runs

        def with_few_runs(assignment: Assignment, state: CommitMetadata) -> str | None:
            return None if len(assignment.progress.incomplete_runs()) > runs else encode(assignment, state)

        content.with_runs = with_few_runs  # type: ignore[method-assign]  # it believes it

    def note_commit(self, places: list[TopicPartition]) -> None:
        """A commit is on its way."""
        self.unanswered.append(places)

    def answer_commit(self, fate: Fate) -> None:
        """The coordinator takes the oldest commit, or refuses it; one of a fenced member it refuses."""
        places = self.unanswered.popleft()
        error = self._commit(places, fate)
        if self.is_alive:
            self.commits.note_answer(error, places)

    def commit_now(self, places: list[TopicPartition]) -> KafkaError | None:
        """A commit that is waited for, behind those on their way."""
        while self.unanswered:
            self.answer_commit("done")
        return self._commit(places, self.commit_fates.popleft() if self.commit_fates else "done")

    def _commit(self, places: list[TopicPartition], fate: Fate) -> KafkaError | None:
        if fate == "refused":
            return REFUSED
        refusal = self.brokers.commit(places, self)
        return UNANSWERED if fate == "unanswered" and not self.is_fenced else refusal

    # ---- what the runners and the settling thread do

    @property
    def startable(self) -> list[Record]:
        """What may begin, what is taken first: of keys of which nothing is in hand."""
        found = [record for held in self._startable for record in held]
        if self.parts.ready is None:
            return found
        holds = self.parts.ready.holds
        return [record for record in found if holds.holder_of(record) in (None, record)]

    @property
    def in_runners(self) -> int:
        """How many records are ready, those included whose keys are in hand."""
        return sum(map(len, self._startable))

    @property
    def _startable(self) -> tuple[MutableSequence[Record], ...]:
        return self.taken, self.ready.records, self.isolated.ready_records.records

    def take(self, record: Record) -> None:
        """A runner takes a ready record."""
        if self._has_turn(record):
            self.ready.records.remove(record)
            self.taken.append(record)

    def _has_turn(self, record: Record) -> bool:
        """Whether a runner may take a record: with priorities, once nothing else of its key is in hand."""
        holds = None if self.parts.ready is None or record in self.taken else self.parts.ready.holds
        return holds is None or (holds.holder_of(record) in (None, record) and holds.acquire(record))

    def start(self, record: Record) -> DecodedJob | Outcome | None:
        """Begin with a ready record: it runs, or has an outcome without; or it waits for its schema."""
        held = next(held for held in self._startable if record in held)
        assert self._has_turn(record)
        held.remove(record)
        is_in_child = held is self.isolated.ready_records.records
        run = self._run_in_child if is_in_child else self._run_here
        way = self.pipe.pass_through_async(record, None, run, self.done)
        try:
            job = way.send(None)
        except StopIteration:
            return self.ended.pop(record, None)
        assert isinstance(job, DecodedJob)
        self.running.append(Running(job, is_in_child, way))
        return job

    async def _run_here(self, job: DecodedJob, _place: None, step_context: StepContext) -> Ran:
        held_back = _held_back(job, step_context)
        if held_back is not None:
            return held_back
        result = await _until_ended(job)
        assert not isinstance(result, ChildDied)
        return result

    async def _run_in_child(self, job: DecodedJob, _place: None, step_context: StepContext) -> Ran:
        held_back = _held_back(job, step_context)
        return held_back or self.isolated.end(job, await _until_ended(job), step_context)

    def _settle(self, record: Record, outcome: Outcome) -> None:
        self.ended[record] = outcome
        self._settle_in_pipe(record, outcome)

    def change_gate(self, choice: int) -> None:
        """The gate holds back a key, or lets it pass."""
        if self.gate is not None:
            self._open(self.gate.change(choice))

    def turn_breakers(self, choice: int) -> None:
        """The control thread comes so far with the breaker."""
        if self.breakers is not None:
            self.breakers.act(choice)

    def take_orders(self, choice: int) -> None:
        """The control thread takes some of the orders that are there."""
        if self.orders is not None:
            self.orders.take(1 + choice % 3)

    def take_orders_amid(self, record: Record, choice: int) -> None:
        """The same while a record is about to begin."""
        if self.orders is not None:
            self.orders.take_amid_begin(1 + choice % 3, record)

    def open_gate(self) -> None:
        """The gate lets all pass."""
        if self.gate is not None:
            self._open(self.gate.open_all())

    def _open(self, reasons: Sequence[PlainWhy]) -> None:
        self.gates.note_resting()
        for why in reasons:
            self.gates.wait_set.release(why)

    def ask_for_schemas(self) -> Sequence[tuple[Record, Outcome]]:
        """Ask for the schemas that records wait for; returns those of them that have an outcome by that."""
        before = set(self.ended)
        if self.parts.gates.view.count_of(AwaitedSchema):
            self.waits._ask(self.waits._next_frames())
        assert self.parts.threads.crashed is None
        return [(record, self.ended.pop(record)) for record in set(self.ended) - before]

    def end(self, running: Running, result: Result | ChildDied) -> Outcome | None:
        """A run has ended; None if its child has died, and it is to be run again in a while."""
        self.running.remove(running)
        with suppress(StopIteration):
            running.way.send(result)
        if running.record in self.done:
            return DONE
        return self.ended.pop(running.record, None)

    def settle_done(self) -> list[Record]:
        """Hand over the jobs that are done, as many as there are; returns them."""
        records = list(self.done)
        self.pipe.settle_done(self.done)
        assert self.parts.threads.crashed is None
        return records

    def settle(self) -> None:
        """Settle what has ended and was not settled."""
        self.failed = self.settler.settle_next(self.failed)

    @property
    def unsettled(self) -> int:
        """What has ended and was not settled."""
        settler = self.settler
        held = len(settler._lone) + len(settler._repetitions)
        done = sum(len(handful.records) for handful in settler._done)
        return done + len(settler._others) + held + len(self.failed)


def _held_back(job: DecodedJob, step_context: StepContext) -> Ran | None:
    """What the runners find when a run is in its slot: it is cancelled, or a gate holds it back."""
    if not (step_context.cancels.stands or step_context.gates.asked_last):
        return None
    return hold_back(job, RunInSlot("simulated"), step_context)


@types.coroutine
def _until_ended(job: DecodedJob) -> Generator[DecodedJob, Result | ChildDied, Result | ChildDied]:
    """Let the simulation decide when a run ends, and how."""
    return (yield job)


def _refuse(error: KafkaError) -> None:
    raise AssertionError(error)
