"""`WorkerParts`: the table of contents of one queue's worker. Each part gets what it needs of those above it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ..producers.readiness import KafkaCheck
from ..schemas import Decoder, SchemaStore
from ..topology import ClusterSettings, Pipeline, Queue
from ..topology.tracing.tracers import find_tracing
from .backlog.rereader import SWEEP_OPTIONS, Rereader
from .breakers.failure_watch import FailureWatch
from .carrying.carrier import Carrier, CarryingClients
from .carrying.old_offsets import OldOffsets
from .declared_gates import GateParts, add_gates
from .declared_runners import make_runners
from .declared_writers import WriterParts, make_writers
from .followers.late_jobs import LateJobs
from .followers.late_notes import LateNotes
from .followers.readiness import FollowerReadiness
from .followers.story_records import StoryRecords
from .gates.gate_row import GateRow
from .gates.pauses import Pauses
from .group.connection import GroupConnection
from .group.member import GroupMember
from .group.membership import Membership, view_group
from .group.rights_watch import RightsWatch, ask_cluster
from .inspection.holdups import Holdups
from .inspection.lag import Lags
from .inspection.overview import Overview
from .inspection.waiting_counts import WaitingCounts
from .instruments.instruments import NO_INSTRUMENTS, Instruments
from .job.dependencies import make_dependencies
from .kafka.clients import (
    carrying_producer,
    events_producer,
    lone_producer,
    longest_callback_s,
    make_reader,
    settling_producer,
    spilling_producer,
)
from .partitions.assignments import Assignments
from .partitions.commits import Commits
from .partitions.counterparts import find_missing
from .partitions.restore_thread import Restoring
from .partitions.spill import Spill
from .polling.backpressure import Backpressure
from .polling.calendar import Calendar
from .polling.completion import Completion
from .polling.dispatch import Dispatch
from .polling.due_times import longest_wait_s
from .polling.ended_cancels import EndedCancels
from .polling.grace import Grace
from .polling.intake import Intake
from .polling.poll_thread_state import PollThreadState
from .polling.rebalance import Rebalance
from .polling.settled import OnSettled, SettledBatches, note_ended_orders, tell_instruments
from .polling.tier_reader import PriorityReaders, TierReader
from .records.reschedules import JobOrders
from .records.source import Priority
from .settings import WorkerSettings
from .settling.done_jobs import DoneJobs
from .settling.event_publisher import EventPublisher
from .settling.settle import SettledEvents, Settler, SettlingClients
from .steps.schema_waits import SchemaWaits
from .steps.steps import StepContext
from .tracing.run_spans import RunSpans

FOLLOWER_CHECK_S: Final = 10.0
"""How long the brokers may take to describe a follower's topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedParts:
    """The parts that all queues of a process share."""

    job_orders: JobOrders = field(default_factory=JobOrders)
    watch: FailureWatch = field(default_factory=FailureWatch)


class WorkerParts:
    """All parts of one queue's worker, made in the order of their dependencies; none of them runs yet."""

    def __init__(
        self,
        pipeline: Pipeline,
        queue: Queue,
        cluster: ClusterSettings,
        store: SchemaStore,
        settings: WorkerSettings,
        instruments: Instruments = NO_INSTRUMENTS,
        shared: SharedParts | None = None,
    ) -> None:
        self._pipeline, self._cluster, self._store = pipeline, cluster, store
        self.queue, self.settings = queue, settings
        self.poll_state = PollThreadState()
        self.instruments = instruments
        shared = shared or SharedParts()
        self.cancels, self.reschedules = shared.job_orders.cancels, shared.job_orders.reschedules
        self._watch = shared.watch
        tracing = find_tracing()
        self.spans = None if tracing is None else RunSpans(tracing, queue)
        self._add_partitions()
        self._add_settling()
        self._add_running()
        self._add_counting()
        self._add_membership()
        self._add_inspection()

    def _add_partitions(self) -> None:
        """Make the parts that know the worker's partitions, commit their progress, and watch its rights."""
        self.assignments = Assignments(self.queue)
        self.rights = RightsWatch(self.queue, ask_cluster(self._pipeline, self.queue, self._cluster))
        spill = Spill(self.queue, partial(spilling_producer, self._cluster, self.settings.worker_id))
        self.commits = Commits(
            self.assignments, spill, self.settings.commit_interval, self.rights.alarm, self.instruments
        )

    def _add_settling(self) -> None:
        """Make the settler and the publisher of events."""
        worker_id = self.settings.worker_id
        make_events_producer = partial(events_producer, self._cluster, worker_id)
        self.events = EventPublisher(self._pipeline.events_topic, self.queue.name, make_events_producer)
        self.done_jobs = DoneJobs(
            self.queue.name,
            worker_id,
            self.settings.release,
            publish=self.events.publish_many,
            give_up=self.events.given_up.note_done,
            job_types=self.job_type_names,
        )
        check = KafkaCheck(self._pipeline, self._cluster, FOLLOWER_CHECK_S)
        self.followers = FollowerReadiness(self._pipeline, self.queue, self._store, check)
        self.stories = StoryRecords(self._pipeline, self.queue, self.followers)
        self.settled = SettledBatches(self._settled_listeners())
        self.settler = Settler(
            self.queue,
            SettlingClients(
                make_shared=partial(settling_producer, self._cluster, worker_id),
                make_lone=partial(lone_producer, self._cluster, worker_id),
            ),
            worker_id=worker_id,
            events=SettledEvents(
                publish=self.events.publish,
                publish_done=self.done_jobs.add if self.settings.done_events else None,
                note_done=self.done_jobs.note if self.settings.done_events else None,
                release=self.settings.release,
            ),
            on_settled=self.settled.put,
            writers=make_writers(
                WriterParts(
                    pipeline=self._pipeline,
                    queue=self.queue,
                    find_unique=self.assignments.find_unique,
                    stories=self.stories,
                )
            ),
        )

    def _settled_listeners(self) -> list[OnSettled]:
        """What takes each settled batch, in this order, as far as it is there; orders may come at any time."""
        listeners: list[OnSettled] = []
        if self.spans is not None:
            listeners.append(self.spans.settled)
        if self.instruments:
            listeners.append(partial(tell_instruments, self.instruments))
        ended_cancels = EndedCancels(self.cancels, self.assignments.ledgers)
        return [*listeners, partial(note_ended_orders, ended_cancels, self.reschedules)]

    def _add_running(self) -> None:
        """Make lanes, gates and runners, which take a record through its steps."""
        gates = GateRow(is_cancelled=lambda record: self.cancels.has(record, self.queue.name))
        self.pauses = Pauses(gates)
        self.limits = add_gates(
            GateParts(
                pipeline=self._pipeline,
                queue=self.queue,
                cluster=self._cluster,
                worker_id=self.settings.worker_id,
                row=gates,
                pauses=self.pauses,
                breakers=self._watch.breakers,
                owns_first=lambda: 0 in self.assignments.main_partitions,
            )
        )
        waits = SchemaWaits(self._store, self.queue.name, gates)
        self.decoder = Decoder(self._store, learn=waits.learn)
        late = LateNotes(self._pipeline, self.queue)
        step_context = StepContext(
            queue=self.queue,
            job_types=self._pipeline.job_types,
            decoder=self.decoder,
            ledgers=self.assignments.ledgers,
            unique=self.assignments.find_unique,
            instruments=self.instruments,
            cancels=self.cancels,
            gates=gates,
            reschedules=self.reschedules,
            dependencies=make_dependencies(self._watch.breakers),
            guards=self._watch.guards,
            note_begun=late.note if late.is_declared else None,
            spans=self.spans,
        )
        self.dispatch = Dispatch(
            step_context,
            self.settler,
            self.events,
            self.settings,
            gates=gates,
            waits=waits,
            make_runners=make_runners,
        )
        make_late_producer = partial(settling_producer, self._cluster, f"{self.settings.worker_id}-late")
        self.late = LateJobs(self.queue, late, self.stories, make_late_producer, self.dispatch.waiting_records)

    def _add_counting(self) -> None:
        """Make the parts that count the records in memory, and those that are complete."""
        self.calendar = Calendar(longest_wait_s(self.queue), reschedules=self.reschedules)
        self.backpressure = Backpressure(
            self.assignments,
            self.settings,
            self.dispatch.count_parked,
            self.settled,
            self.calendar,
            is_draining=self.dispatch.is_draining,
            priorities=list(self.queue.priority_topics),
        )
        self.completion = Completion(self.settled, self.backpressure, self.dispatch)

    def _add_membership(self) -> None:
        """Make the parts that take partitions and their records, and give them back."""
        queue, cluster, worker_id = self.queue, self._cluster, self.settings.worker_id
        self.restoring = Restoring(
            queue,
            cluster,
            find_missing=lambda partitions: find_missing(self.settler.producer, queue, partitions),
            on_restored=self.assignments.receive_restored,
            on_trouble=self.rights.alarm,
        )
        self.tiers = TierReader(make_reader(cluster, queue, f"{worker_id}-tiers", {}), self._priority_readers())
        self.rereader = Rereader(make_reader(cluster, queue, f"{worker_id}-rereader", SWEEP_OPTIONS))
        self.carrier = Carrier(
            queue,
            self.assignments,
            self.dispatch.lanes,
            self.dispatch.gates,
            self.rereader,
            clients=CarryingClients(
                ages=OldOffsets(queue.name, partial(make_reader, cluster, queue, f"{worker_id}-ages", {})),
                make_producer=partial(carrying_producer, cluster, worker_id),
            ),
        )
        self.rebalance = Rebalance(
            self.assignments,
            self.restoring,
            self.commits,
            self.backpressure,
            dispatch=self.dispatch,
            tiers=self.tiers,
            carrier=self.carrier,
        )
        grace_s = min(self.settings.revoke_grace.total_seconds(), longest_callback_s(cluster))
        self.grace = Grace(self.poll_state, self.completion, self.settled, within_s=grace_s)
        self.membership = Membership(queue, partial(view_group, cluster, queue, worker_id))
        self.member = GroupMember(
            queue,
            GroupConnection(cluster, queue, worker_id, self.commits.note_answer),
            assignments=self.assignments,
            rebalance=self.rebalance,
            grace=self.grace,
            rights=self.rights,
            membership=self.membership,
        )
        self.intake = Intake(
            self.assignments,
            self.backpressure,
            self.dispatch,
            self.rebalance,
            self.member.note_error,
            carrier=self.carrier,
            instruments=self.instruments,
        )

    def _priority_readers(self) -> PriorityReaders:
        """A consumer for each priority but the normal one."""
        return PriorityReaders(
            {
                Priority(name): TierReader(
                    make_reader(self._cluster, self.queue, f"{self.settings.worker_id}-{name}", {})
                )
                for name in self.queue.priority_topics
            }
        )

    @property
    def job_type_names(self) -> list[str]:
        """The names of the queue's job types."""
        return [found.name for found in self._pipeline.job_types.values() if found.queue is self.queue]

    def room_for(self, priority: str) -> int:
        """How many more jobs of a priority may be fetched: none where enough of them are ready."""
        ready = self.dispatch.ready
        share = self.backpressure.priority_share
        left = 0 if ready is None else share - ready.count_of(priority)
        return min(left, self.backpressure.room_for(priority)) if left >= share / 2 else 0

    def _add_inspection(self) -> None:
        """Make the parts that show people the state of the worker."""
        self.lags = Lags()
        self.overview = Overview(
            self.queue,
            self.settings.worker_id,
            assignments=self.assignments,
            backpressure=self.backpressure,
            dispatch=self.dispatch,
            membership=self.membership,
            rights=self.rights,
        )
        self.waiting_counts = WaitingCounts(
            self.queue, self.settings.worker_id, self.backpressure, self.dispatch, self.events
        )
        self.holdups = Holdups(
            self.queue,
            worker_id=self.settings.worker_id,
            calendar=self.calendar,
            dispatch=self.dispatch,
            settler=self.settler,
            events=self.events,
        )
