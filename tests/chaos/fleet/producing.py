"""A producer process (`python -m chaos.fleet.producing '<json of Part>'`): enqueues its share of the jobs at a rate.

It may be killed at any moment. Started again, it reads what its forerunners had confirmed and enqueues all the rest of
its share, under the same job ids: what was sent and not confirmed may be there twice.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, Message
from confluent_kafka import Producer as RawProducer

from chaos.notes import NoteFile, Tally
from chaos.plan import (
    BEYOND,
    CANCELLED,
    FAR_S,
    FILTERED,
    RESCHEDULED,
    ROUGH_KINDS,
    JobPlan,
    JobPlans,
    job_id_of,
    poison_name,
    tenant_of,
)
from stoker.producers import EnqueueError, Producer, Receipt
from stoker.producers.errors import BulkFailed
from stoker.topology import ClusterSettings, JobType
from stoker.topology.declaration.job_type import JobCall
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire import headers as wire

NUMBER_HEADER: Final = "chaos-number"
MAX_PENDING: Final = 2_000
CHUNK: Final = 300
BREATH_S: Final = 0.1
"""Between handfuls: what comes together goes to the brokers together, which costs them less than the jobs do."""
LATE_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One producer's share: the numbers below `jobs` that leave `residue` when divided by `producers`.

    Attributes:
        how: `stream` enqueues one by one with futures, `bulk` in chunks with `enqueue_many`.
        per_s: jobs per second at the most.
    """

    folder: str
    servers: str
    seed: int
    jobs: int
    producers: int
    residue: int
    how: str
    per_s: float

    def to_json(self) -> str:
        """The argument of the process."""
        return json.dumps(asdict(self))


class Sender:
    """Sends planned jobs and notes their confirmations."""

    def __init__(self, part: Part) -> None:
        from chaos.fleet.app import pipeline, steady

        self._part, self._plans, self._steady = part, JobPlans(part.seed), steady
        self._types: dict[str, JobType[Any, Any]] = dict(pipeline.job_types)
        self._notes = NoteFile(Path(part.folder), "confirmed")
        cluster = ClusterSettings(bootstrap_servers=part.servers)
        self._store = schema_store(pipeline, cluster)
        self._producer = Producer(pipeline, cluster, source="/chaos")
        self._raw = RawProducer(cluster.client_config() | {"enable.idempotence": True, "log_level": 2})
        self._again: deque[int] = deque()
        self._lock = threading.Lock()
        self._pending = 0
        self._granted = 0
        self._done = 0

    def run(self) -> None:
        """Send until every number of the share is confirmed."""
        known = Tally(Path(self._part.folder), "confirmed", b"C ")
        known.look()
        own = range(self._part.residue, self._part.jobs, self._part.producers)
        wanted = deque(number for number in own if number not in known.numbers)
        count = len(wanted)
        insist_start(self._producer)
        send = self._stream if self._part.how == "stream" else self._bulk
        pace = Pace(self._part.per_s)
        while self._done < count:
            wanted.extend(islice(_drain(self._again), MAX_PENDING))
            send(wanted, pace.due())
            self._raw.poll(0)
            time.sleep(BREATH_S)
        self._producer.close()
        self._raw.flush()

    # ---- one by one

    def _stream(self, wanted: deque[int], due: int) -> None:
        for _ in range(min(due, len(wanted), MAX_PENDING - self._pending)):
            self._send(self._plans.of(wanted.popleft()))

    def _send(self, plan: JobPlan) -> None:
        with self._lock:
            self._pending += 1
        if plan.kind in _RAW:
            return self._send_raw(plan)
        try:
            future = self._producer.send_future(self._call(plan))
        except EnqueueError as error:
            return self._note_failure(plan.number, type(error).__name__)
        return future.add_done_callback(partial(self._note, plan.number))

    def _call(self, plan: JobPlan) -> JobCall:
        job = self._types[plan.kind].with_options(
            job_id=job_id_of(plan.number), key=plan.key, tenant=tenant_of(plan), delay=_delay_of(plan)
        )
        return job.call(plan.number) if plan.kind in _WITHOUT_DETAIL else job.call(plan.number, plan.how)

    def _note(self, number: int, future: Future[Receipt]) -> None:
        error = future.exception()
        if error is not None:
            return self._note_failure(number, type(error).__name__)
        receipt = future.result()
        return self._note_success(number, f"{receipt.topic}/{receipt.partition}/{receipt.offset}")

    def _note_success(self, number: int, place: str) -> None:
        with self._lock:
            self._pending -= 1
            self._done += 1
        self._notes.append(f"C {number} {place}")

    def _note_failure(self, number: int, error: str) -> None:
        with self._lock:
            self._pending -= 1
        self._notes.append(f"F {number} {error}")
        self._again.append(number)

    # ---- in chunks

    def _bulk(self, wanted: deque[int], due: int) -> None:
        self._granted += due
        if self._granted < min(CHUNK, len(wanted)):
            return
        self._granted = 0
        numbers = [wanted.popleft() for _ in range(min(CHUNK, len(wanted)))]
        plans = [self._plans.of(number) for number in numbers]
        jobs = [plan for plan in plans if plan.kind not in _RAW]
        with self._lock:
            self._pending += len(numbers)
        for plan in plans:
            if plan.kind in _RAW:
                self._send_raw(plan)
        try:
            self._producer.enqueue_many(map(self._call, jobs))
            failed: frozenset[int] = frozenset()
        except BulkFailed as failure:
            failed = frozenset(failure.failed_indexes) | frozenset(range(failure.read, len(jobs)))
        for index, plan in enumerate(jobs):
            if index in failed:
                self._note_failure(plan.number, "BulkFailed")
            else:
                self._note_success(plan.number, "-")

    # ---- poison, and jobs with a due time

    def _send_raw(self, plan: JobPlan) -> None:
        value, headers = poisoned(plan) if plan.kind == "poison" else self._due_later(plan)
        self._raw.produce(
            self._steady.topic,
            value=value,
            key=plan.key,
            headers=headers,  # type: ignore[arg-type]  # the stub's list is invariant
            on_delivery=partial(self._note_raw, plan.number),
        )

    def _due_later(self, plan: JobPlan) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
        """Value and headers of a job that must not begin yet."""
        contract = self._types[plan.kind].contract
        value = self._store.frame(contract, contract.encode(contract.payload((plan.number, plan.how), {})))
        due = datetime.fromtimestamp(time.time(), UTC) + timedelta(milliseconds=plan.how)  # by the clock that moves
        headers = {**_plain_headers(plan, plan.kind), wire.DUE: wire.format_instant(due)}
        return value, list(headers.items())

    def _note_raw(self, number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._note_failure(number, error.name())
        else:
            self._note_success(number, f"{message.topic()}/{message.partition()}/{message.offset()}")


_WITHOUT_DETAIL: Final = frozenset({"doomed", "strict_doomed", "discarding", "snoozing", "hanging", *ROUGH_KINDS})


_RAW: Final = frozenset({"poison", "delayed", CANCELLED})
"""What is published by the plain client, as any other producer may do."""


def _delay_of(plan: JobPlan) -> timedelta | None:
    if plan.kind == FILTERED:
        return timedelta(milliseconds=plan.how)
    return timedelta(seconds=FAR_S[plan.how]) if plan.kind in (BEYOND, RESCHEDULED) else None


def poisoned(plan: JobPlan) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Value and headers of a record that no producer of Stoker's would write."""
    headers = _plain_headers(plan, "light")
    value: bytes | None = b"\x07not avro\xff"
    match poison_name(plan):
        case "empty":
            value = None
        case "no_headers":
            headers = {}
        case "no_type":
            del headers["ce_type"]
        case "null_header":
            headers["ce_id"] = None
        case "bad_attempt":
            headers["stoker-attempt"] = b"-5"
        case "bad_due":
            headers["stoker-due"] = b"next tuesday"
        case "unknown_type":
            headers["ce_type"] = b"of_tomorrow"
        case "unknown_schema":
            value = b"\xc3\x01" + bytes(range(8)) + b"\x02"
    return value, [(NUMBER_HEADER, b"%d" % plan.number), *headers.items()]


def _plain_headers(plan: JobPlan, job_type: str) -> dict[str, bytes | None]:
    return {
        wire.SPEC_VERSION: wire.SPEC_VERSION_1_0,
        wire.JOB_ID: job_id_of(plan.number).encode(),
        wire.JOB_TYPE: job_type.encode(),
        wire.CONTENT_TYPE: wire.CONTENT_TYPE_AVRO,
    }


class Pace:
    """Grants so many jobs a second; what was not sent in time is not caught up with, but sent later."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._granted_until_at_s = per_s, time.monotonic()

    def due(self) -> int:
        """How many may be sent now."""
        now_s = time.monotonic()
        self._granted_until_at_s = max(self._granted_until_at_s, now_s - LATE_S)
        count = int((now_s - self._granted_until_at_s) * self._per_s)
        self._granted_until_at_s += count / self._per_s
        return count


def _drain(numbers: deque[int]) -> Iterator[int]:
    while numbers:
        yield numbers.popleft()


def insist_start(producer: Producer) -> None:
    """Start although brokers may be away for the moment."""
    while True:
        try:
            return producer.start()
        except EnqueueError as error:
            print(f"start again: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    given = Part(**json.loads(sys.argv[1]))
    os.environ["CHAOS_FOLDER"] = given.folder
    Sender(given).run()
