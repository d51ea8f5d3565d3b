"""`SettlingParts`: what makes outcomes durable, hands settled records back, and publishes events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ...producers.readiness import KafkaCheck
from ..declared.writers import WriterParts, make_writers
from ..followers.late_notes import LateNotes
from ..followers.readiness import FollowerReadiness
from ..followers.story_records import StoryRecords
from ..in_flight.settled import SettledBatches
from ..kafka.clients import events_producer, lone_producer, settling_producer
from ..partitions.assignments import Assignments
from ..settling.done_jobs import DoneJobs
from ..settling.ended_cancels import EndedCancels, note_ended_orders
from ..settling.event_publisher import MOST_EVENTS, MOST_EVENTS_KBYTES, EventPublisher
from ..settling.lone_records import count_replaced
from ..settling.settle import SettledEvents, Settler, SettlingClients
from ..settling.settlement import OnSettled, notify_instruments
from ..settling.writes import Writer
from ..tracing.run_spans import RunSpans
from .queue_context import QueueContext

FOLLOWER_CHECK_S: Final = 10.0
"""How long the brokers may take to describe a follower's topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingParts:
    """Runners hand outcomes to `settler`; the poll thread takes settled records from `settled`."""

    events: EventPublisher
    done_jobs: DoneJobs
    followers: FollowerReadiness
    stories: StoryRecords
    late_notes: LateNotes
    settled: SettledBatches
    settler: Settler
    spans: RunSpans | None

    def close_events(self, within_s: float) -> None:
        """Publish the last events; they are confirmed in time, or given up. End the last spans."""
        if self.spans is not None:
            self.spans.close()
        self.done_jobs.close()
        self.events.close(within_s)


def make_settling(context: QueueContext, assignments: Assignments, spans: RunSpans | None) -> SettlingParts:
    """Make them; `spans` are those of the queue's runs, where these are traced."""
    pipeline, queue = context.pipeline, context.queue
    events = _make_events(context)
    done_jobs = _make_done_jobs(context, events)
    check = KafkaCheck(pipeline, context.cluster, FOLLOWER_CHECK_S)
    followers = FollowerReadiness(pipeline, queue, context.store, check)
    stories = StoryRecords(pipeline, queue, followers)
    settled = SettledBatches(_listeners(context, assignments, spans))
    writers = make_writers(
        WriterParts(pipeline=pipeline, queue=queue, find_unique=assignments.ledgers.find_unique, stories=stories)
    )
    return SettlingParts(
        events=events,
        done_jobs=done_jobs,
        followers=followers,
        stories=stories,
        late_notes=LateNotes(pipeline, queue),
        settled=settled,
        settler=_make_settler(context, events, done_jobs, settled, writers),
        spans=spans,
    )


def _listeners(context: QueueContext, assignments: Assignments, spans: RunSpans | None) -> list[OnSettled]:
    """Find the listeners of settled batches, in their order; that of orders is there always, as one may come."""
    listeners: list[OnSettled] = []
    if spans is not None:
        listeners.append(spans.settled)
    if context.instruments:
        listeners.append(partial(notify_instruments, context.instruments))
    if context.watch.guards:
        listeners.append(partial(count_replaced, context.watch.guards))
    orders = context.orders
    ended_cancels = EndedCancels(orders.cancels, assignments.ledgers.present)
    return [*listeners, partial(note_ended_orders, ended_cancels, orders.reschedules)]


def _make_events(context: QueueContext) -> EventPublisher:
    make_producer = partial(
        events_producer,
        context.cluster,
        context.worker_id,
        most_events=MOST_EVENTS,
        most_kbytes=MOST_EVENTS_KBYTES,
    )
    return EventPublisher(context.pipeline.events_topic, context.queue.name, make_producer)


def _make_done_jobs(context: QueueContext, events: EventPublisher) -> DoneJobs:
    return DoneJobs(
        context.queue.name,
        context.worker_id,
        context.settings.release,
        publish=events.publish_many,
        give_up=events.given_up.count_done,
        job_types=[found.name for found in context.job_types],
    )


def _make_settler(
    context: QueueContext,
    events: EventPublisher,
    done_jobs: DoneJobs,
    settled: SettledBatches,
    writers: Sequence[Writer],
) -> Settler:
    cluster, worker_id, settings = context.cluster, context.worker_id, context.settings
    return Settler(
        context.queue,
        SettlingClients(
            make_shared=partial(settling_producer, cluster, worker_id),
            make_lone=partial(lone_producer, cluster, worker_id),
        ),
        worker_id=worker_id,
        events=SettledEvents(
            publish=events.publish,
            publish_done=done_jobs.add if settings.done_events else None,
            make_columns=done_jobs.make_columns if settings.done_events else None,
            release=settings.release,
        ),
        on_settled=settled.put,
        writers=writers,
    )
