"""Records as a worker gets them, without a broker: for the tests of the steps between delivery and settling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from confluent_kafka import Message

from stoker.consumers.job.run import Run
from stoker.consumers.partitions.ledger import Ledger
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.steps.steps import DecodedJob, StepContext
from stoker.schemas import Decoder
from stoker.schemas.stores.store import StoredSchema
from stoker.topology import JobType, Pipeline, Queue
from stoker.topology.declaration.pipeline import QueueShape

NOW = datetime(2013, 1, 1, 12, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()
TIERS = (timedelta(seconds=1), timedelta(seconds=10), timedelta(minutes=1))


class EmptyStore:
    """A schema store that knows no writer's schema but the contract's own."""

    knows_registry_ids = False

    def register(self, contract: object, compatibility: object) -> None:
        """Nothing is kept."""

    def require_registrable(self, contract: object, compatibility: object) -> None:
        """Nothing is refused."""

    def frame(self, contract: Any, body: bytes) -> bytes:
        """In single-object encoding."""
        return bytes(contract.header + body)

    def writer_schema(self, frame_id: bytes | int) -> StoredSchema | None:
        """It knows none."""
        return None

    def versions(self, job_type: str) -> list[StoredSchema]:
        """It knows none."""
        return []

    def refresh(self, timeout_s: float) -> None:
        """There is nothing to learn."""

    def close(self) -> None:
        """There is nothing to close."""


@dataclass
class Delivery:
    """One queue's declaration with a handler `work(number)`, the context of its steps, and records of its topics."""

    pipeline: Pipeline
    queue: Queue
    work: JobType[..., Any]
    chance: float = 0.0
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        """Give partition 0 a ledger."""
        self.ledger = Ledger(self.queue.ledger, clock=lambda: NOW_S)

    @property
    def step_context(self) -> StepContext:
        """What the steps work with, at `NOW`."""
        return StepContext(
            queue=self.queue,
            job_types=self.pipeline.job_types,
            decoder=Decoder(EmptyStore()),
            ledgers={0: self.ledger},
            clock=lambda: NOW_S,
            chance=lambda: self.chance,
        )

    def payload(self, number: int = 1) -> bytes:
        """The value of a job's record."""
        contract = self.work.contract
        return bytes(contract.header + contract.encode(contract.payload((number,), {})))

    def record(
        self,
        headers: Mapping[str, bytes | None] | None = None,
        *,
        value: bytes | None = b"its payload",
        key: bytes | None = None,
        offset: int = 7,
        assignment: Assignment | None = None,
    ) -> Record:
        """A record of a well-formed job, but for what the headers given here override."""
        named: dict[str, bytes | None] = {"ce_specversion": b"1.0", "ce_id": b"job-1", "ce_type": b"work"}
        pairs = list({**named, **(headers or {})}.items())
        place = assignment or Assignment(1, self.queue.topic, 0, keeps_order=self.queue.ordering != "none")
        message = Message(
            topic=place.topic,
            partition=place.partition,
            offset=offset,
            key=key,
            value=self.payload() if value == b"its payload" else value,
            headers=pairs,  # type: ignore[arg-type]  # the stub's list is invariant
            timestamp=(1, int(NOW_S * 1_000)),
        )
        return Record(message, place)

    def job(self, attempt: int = 1, headers: Mapping[str, bytes | None] | None = None) -> DecodedJob:
        """A decoded record, about to run for the given attempt."""
        record = self.record({"stoker-attempt": b"%d" % attempt, **(headers or {})})
        run = Run("job-1", "work", self.queue.name, attempt, self.work.retry.attempts, record)
        return DecodedJob(record, self.work, (1,), {}, run)


def declare(work: Callable[..., Any] | None = None, **shape: Unpack[QueueShape]) -> Delivery:
    """Declare the queue `q` of three tiers; `work` replaces the handler that does nothing."""
    pipeline = Pipeline("unit")
    wanted: QueueShape = {"partitions": 1, "tiers": TIERS, **shape}
    queue = pipeline.queue("q", **wanted)

    def do_nothing(number: int) -> None:
        """Do nothing."""

    handler = work or do_nothing
    return Delivery(pipeline=pipeline, queue=queue, work=pipeline.job(queue, name="work")(handler))


def plain_record(offset: int, lane: str | None = None, assignment: Assignment | None = None) -> Record:
    """A record with nothing but its place and its key."""
    message = Message(
        topic="t",
        partition=0,
        offset=offset,
        key=None if lane is None else lane.encode(),
        value=b"",
        headers=[],
        timestamp=(1, 0),
    )
    return Record(message, assignment or Assignment(1, "t", 0))


def record_of(pairs: Sequence[tuple[str, bytes | None]]) -> Record:
    """A record with nothing but these headers."""
    message = Message(
        topic="t",
        partition=0,
        offset=0,
        key=None,
        value=None,
        headers=list(pairs),
        timestamp=(1, 0),
    )
    return Record(message, Assignment(1, "t", 0))


STEP_CONTEXT = declare().step_context
"""The context of steps for jobs that nothing cancels or holds back."""
