"""The process that takes jobs through the stages of a worker, one after another in one thread, and times each.

A worker's threads share one interpreter and several caches, so that no stage of theirs can be timed by itself. Here
each stage has a handful of records for itself, as the poll thread and the runners take them; what the threads cost on
top is the difference to the worker's CPU time for each job.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bare import BATCH, PATIENCE_S, NothingCame, open_consumer
from confluent_kafka import Message, Producer
from part import Part, Result, Say, only_queue

from stoker.consumers.commits.commits import count_complete
from stoker.consumers.kafka.clients import settling_producer
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.partitions.ledger import Ledger
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.settling.settle import SettledEvents, Settler, SettlingClients
from stoker.consumers.settling.settlement import SettlementBatch
from stoker.consumers.steps.pipe import SettleStep
from stoker.consumers.steps.run_step import run_sync
from stoker.consumers.steps.steps import DecodedJob, StepContext, claim, decide, decode
from stoker.consumers.worker import GC_THRESHOLD
from stoker.schemas import Decoder
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire.commit_metadata import CommitMetadata

STAGES: Final = ("consume", "record", "lanes", "claim", "decode", "run", "decide", "hand_over", "settle", "complete")


class Stopwatch:
    """Adds up the CPU time of the calling thread, stage by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside for one stage."""
        began_at_s = time.thread_time()
        yield
        self.seconds[name] += time.thread_time() - began_at_s


class Line:
    """The parts of a worker that a job passes, without their threads."""

    def __init__(self, part: Part, watch: Stopwatch) -> None:
        pipeline = part.pipeline()
        queue = only_queue(pipeline)
        self._watch = watch
        self._ready: list[Record] = []
        self._settled: list[SettlementBatch] = []
        self._slot = Slot()
        self._assignments: dict[int, Assignment] = {}
        ledgers: dict[int, Ledger] = {}
        self._context = StepContext(
            queue=queue,
            job_types=pipeline.job_types,
            decoder=Decoder(schema_store(pipeline, part.cluster)),
            ledgers=ledgers,
        )
        for number in range(queue.partitions):
            self._assignments[number] = assignment = Assignment(number, queue.topic, number)
            assignment.note_restored(CommitMetadata(committed_offset=0, position=0))
            assignment.note_running()
            ledgers[number] = Ledger(queue.ledger)
        self._lanes = KeyLanes(self._ready.extend)

        def producer() -> Producer:
            return settling_producer(part.cluster, "stages")

        self._settler = Settler(
            queue,
            SettlingClients(make_shared=producer, make_lone=producer),
            worker_id="stages",
            events=SettledEvents(publish=lambda _event: None),
            on_settled=self._settled.append,
        )
        self._settle_step = SettleStep(self._context, self._lanes, self._settler, Excuse(queue))

    def carry(self, messages: list[Message]) -> None:
        """Take a handful of messages all the way."""
        stage = self._watch.stage
        with stage("record"):
            records = [Record(message, self._assignments[message.partition() or 0]) for message in messages]
        messages.clear()
        with stage("lanes"):
            for record in records:
                record.assignment.progress.note_delivered(record.offset)
            self._lanes.add(records)
        while self._ready:  # those of one key come one after another
            ready = self._ready.copy()
            self._ready.clear()
            self._run(ready)
        with stage("settle"):
            left = self._settler.settle_next(SettlementBatch())
        assert not left, "an outcome could not be written"
        with stage("complete"):
            for assignment, records in (part for batch in self._settled for part in batch.done_parts):
                count_complete(assignment, records)
            self._settled.clear()

    def _run(self, ready: list[Record]) -> None:
        stage, context, slot = self._watch.stage, self._context, self._slot
        with stage("claim"):
            refused = [claim(record, context) for record in ready]
        with stage("decode"):
            decoded = [decode(record, context) for record in ready]
        jobs = [job for job in decoded if isinstance(job, DecodedJob)]
        assert len(jobs) == len(ready) == refused.count(None), "a job of the backlog cannot be run"
        with stage("run"):
            results = [run_sync(job, slot, context) for job in jobs]
        with stage("decide"):
            outcomes = [decide(job, result, context) for job, result in zip(jobs, results, strict=True)]
        assert set(outcomes) == {DONE}, "a no-op job is not done"
        with stage("hand_over"):
            self._settle_step.settle_done(ready)


def carry(part: Part, _say: Say) -> Result:
    """Take the whole backlog through the stages; returns µs of CPU for each job, by stage."""
    gc.set_threshold(GC_THRESHOLD)
    watch = Stopwatch()
    line, consumer = Line(part, watch), open_consumer(part)
    left, patience_s = part.jobs, PATIENCE_S
    while left:
        with watch.stage("consume"):
            messages = consumer.consume(min(BATCH, left), patience_s)
        if not messages:
            raise NothingCame(part.jobs - left, part.jobs)
        left, patience_s = left - len(messages), 1.0
        line.carry(messages)
    consumer.close()
    return {name: seconds / part.jobs * 1e6 for name, seconds in watch.seconds.items()}
