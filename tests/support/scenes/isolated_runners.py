"""Isolated runners without a broker: records go in, outcomes come out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psutil
from confluent_kafka import Message

from stoker.consumers import WorkerSettings
from stoker.consumers.gates.gate import Wait
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.isolation.isolated_runners import IsolatedRunners
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import Outcome
from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.watchdog import Watchdog
from stoker.consumers.steps.steps import DecodedJob, StepContext, decide, decode
from stoker.schemas import Decoder
from stoker.topology import JobType, Pipeline, Queue
from support.scenes.deliveries import EmptyStore
from support.waiting import wait_until

DEADLINE_S = 100.0


@dataclass
class Isolated:
    """Runners over one queue."""

    queue: Queue
    step_context: StepContext
    assignment: Assignment
    runners: IsolatedRunners
    gates: GateRow
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    offsets: Iterator[int] = field(default_factory=count)

    def offer(
        self,
        job_type: JobType[..., Any],
        *arguments: Any,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        attempt: int = 1,
    ) -> str:
        """Give the runners one job; its id."""
        offset = next(self.offsets)
        job_id = f"job-{offset}"
        named = {"ce_id": job_id.encode(), "ce_type": job_type.name.encode(), "stoker-attempt": b"%d" % attempt}
        contract = job_type.contract
        message = Message(
            topic=self.assignment.topic,
            partition=0,
            offset=offset,
            key=key,
            value=contract.header + contract.encode(contract.payload(arguments, {})),
            headers=[*named.items(), *(headers or {}).items()],
            timestamp=(1, 0),
        )
        self.runners.make_ready([Record(message, self.assignment)])
        return job_id

    def wait(self, *job_ids: str, within_s: float = DEADLINE_S) -> list[Outcome]:
        """The outcomes of these jobs, once they are there."""

        def are_there() -> bool:
            self.gates.ask_again()
            return set(job_ids) <= set(self.outcomes)

        wait_until(are_there, within_s, f"outcomes of {job_ids}")
        return [self.outcomes[job_id] for job_id in job_ids]

    def run(self, job_type: JobType[..., Any], *arguments: Any, **how: Any) -> Outcome:
        """Run one job; its outcome."""
        return self.wait(self.offer(job_type, *arguments, **how))[0]

    def wait_idle(self, size: int) -> list[int]:
        """Start, and wait until so many children are idle, and none is starting; their process ids."""
        self.runners.start()

        def are_idle() -> bool:
            counts = self.runners.counts()
            return counts is not None and (counts.idle, counts.starting, counts.busy) == (size, 0, 0)

        wait_until(are_idle, DEADLINE_S, f"{size} idle children; there are {self.runners.counts()}")
        return self.runners.process_ids()


@contextmanager
def isolated(pipeline: Pipeline, queue: Queue, **settings: Any) -> Iterator[Isolated]:
    """Runners for a declared queue, stopped afterwards."""
    gates = GateRow()
    step_context = StepContext(
        queue=queue, job_types=pipeline.job_types, decoder=Decoder(EmptyStore()), ledgers={}, gates=gates
    )
    outcomes: dict[str, Outcome] = {}
    crashes: list[BaseException] = []

    def run_one(record: Record, slot: Slot) -> None:
        try:
            job = decode(record, step_context)
            assert not isinstance(job, Wait)
            if isinstance(job, DecodedJob):
                outcome = decide(job, runners.run(job, slot, step_context), step_context)
            else:
                outcome = job
            if outcome is not None:
                outcomes[record.headers["ce_id"].decode()] = outcome
        except BaseException as error:
            crashes.append(error)
            raise

    runners = IsolatedRunners(
        step_context,
        WorkerSettings(**{"isolated_concurrency": 1, **settings}),
        run_one,
        deque[Record].clear,
        send_back=gates.wait_set.add_sent_back,
    )
    gates.start(runners.make_ready)
    assignment = Assignment(1, queue.topic, 0)
    try:
        yield Isolated(queue, step_context, assignment, runners, gates, outcomes)
    finally:
        gates.wait_set.stop()
        runners.interrupt()
        gates.stop()
    assert not crashes
    assert runners.crashed is None
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("stoker-children")]


@contextmanager
def watched(here: Isolated) -> Iterator[Watchdog]:
    """Have a watchdog look at the runners."""
    dog = Watchdog([here.runners], "q")
    dog.start()
    try:
        yield dog
    finally:
        dog.stop()


def declare(*handlers: Callable[..., Any], **options: Any) -> tuple[Pipeline, Queue, list[JobType[..., Any]]]:
    """A queue whose job types run these handlers in children; options that a queue has go to it."""
    pipeline = Pipeline("unit")
    of_queue = {name: options.pop(name) for name in ("crash_limit", "tiers", "ordering") if name in options}
    queue = pipeline.queue("q", partitions=1, **of_queue)
    return pipeline, queue, [pipeline.job(queue, isolation="process", **options)(handler) for handler in handlers]


def is_gone(process_id: int) -> bool:
    """Whether a process has ended with all its threads, and so closed its pipes; be its exit code not taken."""
    try:
        process = psutil.Process(process_id)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
    except psutil.NoSuchProcess:
        return True
