"""`Settler`: makes outcomes durable in batches, and only then hands their records back as complete.

One thread for each queue collects the outcomes that runners hand in. It plans what each of them writes (`writes.py`),
writes a batch in two phases, and repeats a write that fails until it succeeds; the source record stays incomplete
meanwhile, so no commit passes it. Each phase ends when the brokers have confirmed all of it (`batch_writer.py`):

    1. the records that follow the outcomes: retries, dead letters, whatever else its writers plan
    2. the ledger's entries, of those outcomes alone whose records are all confirmed

A crash between the two leaves a second record of the same attempt in a tier, which the ledger stops when its twin has
run. The other way round, a crash would lose the job: the ledger would have it for settled, and no record of it would be
left.

A record that no topic takes in its form, such as one that is too large, gets another form (`fitting.py`) and is written
beside all batches (`lone_records.py`). The event of an outcome is handed over once it is settled, to a client of its
own that the settler does not wait for.

Settled batches go back to the poll thread by `on_settled`, which is `SettledBatches.put` (`in_flight/settled.py`).
There `Completion.note_settled` (`in_flight/completion.py`) has their offsets counted as complete
(`commits/commits.py`).

It is the fourth of the five files on the way of a job (docs/architecture.md); `commits/commits.py` is the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from confluent_kafka import KafkaException, Producer

from ...schemas.own_records.job_events import JobEvent
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error
from .. import log_keys
from ..guarded_thread import GuardedThread
from ..records.done_handful import DoneHandful, records_of
from ..records.outcomes import DONE, Done, Outcome
from ..records.record import Record
from .batch_writer import STILL_WAITING_S, BatchWriter, GaveUp, ProducerFactory
from .lone_records import LoneRecords
from .next_records import EventFacts
from .repetitions import Repetitions
from .settlement import OnSettled, Settlement, SettlementBatch, merged
from .trouble import TroubleLog
from .writes import WRITERS, Writer, plan_writes, utc

_LOGGER = logging.getLogger("stoker.settle")

BATCH_LIMIT: Final = 2_000
RETRY_PAUSE_S: Final = 0.5
LINGER_S: Final = 0.01
"""A batch costs a round trip, and one more where records follow its outcomes, however small it is."""
LONE_INTERVAL_S: Final = 0.02
"""How often the settler takes answers to the records that go alone, while there are some."""
END_WITHIN_S: Final = 0.5
"""How long the thread takes to end at the most, once the time of a shutdown is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingClients:
    """Makes the clients that write outcomes: one for batches, one for the records that go alone."""

    make_shared: ProducerFactory
    make_lone: ProducerFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledEvents:
    """Takes the events of what is settled; no call waits.

    Attributes:
        publish: takes the event of one outcome.
        publish_done: takes jobs that are done, by the handful; None where they have no events.
        make_columns: makes those of a handful before it is settled; any thread calls it, mostly the runner.
        release: what the worker runs.
    """

    publish: Callable[[JobEvent], None]
    publish_done: Callable[[Sequence[DoneHandful]], None] | None = None
    make_columns: Callable[[DoneHandful], None] | None = None
    release: str = ""


class Settler:
    """The settling thread of one queue.

    Attributes:
        stranded: how many outcomes cannot be written until a person fixes something: a shutdown waits for none.
        thread: what settles; the worker stops where it crashes.
    """

    def __init__(
        self,
        queue: Queue,
        clients: SettlingClients,
        *,
        worker_id: str,
        events: SettledEvents,
        on_settled: OnSettled,
        writers: Sequence[Writer] = WRITERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._worker_id = worker_id
        self._events = events
        self._make_columns = events.make_columns
        self._on_settled = on_settled
        self._writers = writers
        self._clock = clock
        self._trouble = TroubleLog(queue)
        self._batch_writer = BatchWriter(
            queue, clients.make_shared, clock, lambda: self._trouble.note_silence(STILL_WAITING_S)
        )
        self._lone = LoneRecords(queue, clients.make_lone, self._plan)
        self._repetitions = Repetitions()
        self._done: deque[DoneHandful] = deque()
        self._others: deque[tuple[Record, Outcome]] = deque()
        self._conditions = [writer.is_ready for writer in writers if writer.is_ready is not None]
        self._kept_back: list[tuple[Record, Outcome]] = []
        done_is_followed = any(Done in writer.follows for writer in writers)
        self._take_done: Callable[[DoneHandful], None] = self._take_followed if done_is_followed else self._done.append
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._last_batch_at_s = 0.0
        self._repeat_at_s = 0.0
        self.stranded = 0
        self.thread = GuardedThread(f"stoker-settle-{queue.name}", self._run)

    def start(self) -> None:
        """Begin to settle."""
        self.thread.start()

    def hand_in(self, record: Record, outcome: Outcome) -> None:
        """Take an outcome from a runner; never blocks."""
        if isinstance(outcome, Done):
            self._take_done(DoneHandful([record]))
        else:
            self._others.append((record, outcome))
        if not self._wake.is_set():
            self._wake.set()

    def hand_in_done(self, handful: DoneHandful) -> None:
        """Take records whose jobs are done; never blocks."""
        if self._make_columns is not None:
            self._make_columns(handful)
        self._take_done(handful)
        if not self._wake.is_set():
            self._wake.set()

    def _take_followed(self, handful: DoneHandful) -> None:
        """Take jobs that are done where records may follow that."""
        self._others.extend((record, DONE) for record in handful.records)

    def stop(self, within: timedelta) -> None:
        """Settle what was handed in, for so long at the most, and end; what is left will be delivered again."""
        self._batch_writer.give_up_after(within.total_seconds())
        self._stopping.set()
        self._wake.set()
        self.thread.join(within.total_seconds() + END_WITHIN_S)

    @property
    def producer(self) -> Producer:
        """The client that writes outcomes."""
        return self._batch_writer.producer

    @property
    def is_in_trouble(self) -> bool:
        """Whether the brokers do not take outcomes at this moment."""
        return self._trouble.is_ongoing

    def _run(self) -> None:
        failed = SettlementBatch()
        try:
            while not (self._stopping.is_set() and self._has_ended(failed)):
                self._wake.wait(self._pause_s(failed))
                self._wake.clear()
                self._wait_for_more()
                failed = self.settle_next(failed)
                if self._done or self._others:
                    self._wake.set()
        except GaveUp as end:
            _LOGGER.error("%s", end, extra={log_keys.QUEUE: self._queue.name})

    def _pause_s(self, failed: SettlementBatch) -> float | None:
        """How long to wait for new outcomes; without an end where there is nothing else to do."""
        return (
            LONE_INTERVAL_S if self._lone or self._repetitions else RETRY_PAUSE_S if failed or self._kept_back else None
        )

    def settle_next(self, failed: SettlementBatch) -> SettlementBatch:
        """Settle what was handed in, and once more what has failed before; return what has failed."""
        answered = self._lone.serve()
        failed = merged(self._settle(merged(self._collect(), answered)), self._repeat_if_due(failed))
        failed = merged(failed, self._lone.take_failed())
        self._report(failed)
        return failed

    def _wait_for_more(self) -> None:
        """Under load, wait a little for more outcomes to settle together; one after a quiet time goes at once."""
        now_s = time.monotonic()
        if now_s - self._last_batch_at_s < LINGER_S:
            self._stopping.wait(LINGER_S)
        self._last_batch_at_s = time.monotonic()

    def _has_ended(self, failed: SettlementBatch) -> bool:
        kept = len(failed) + len(self._repetitions) + len(self._kept_back)
        unsettled = self._done or self._others or self._lone or kept > self.stranded
        return not unsettled or self._batch_writer.is_out_of_time

    def _repeat_if_due(self, failed: SettlementBatch) -> SettlementBatch:
        """Try once more what failed, after a pause, and beside what is new: one in trouble does not hold up others."""
        if not failed or time.monotonic() < self._repeat_at_s:
            return failed
        self._repeat_at_s = time.monotonic() + RETRY_PAUSE_S
        for item in failed.others:
            item.drop_late_writes()
        return self._settle(failed)

    def _collect(self) -> SettlementBatch:
        done = self._take_handfuls()
        planned = [self._plan(record, outcome) for record, outcome in self._take_others()]
        named, others = list[Record](), list[Settlement]()
        for item in planned:
            if _is_name_alone(item):
                named.append(item.record)
            elif not self._repetitions.hold_back(item):
                others.append(item)
        if named:
            done.append(DoneHandful(named))
        return SettlementBatch(done, [*self._repetitions.take_freed(), *others])

    def _take_handfuls(self) -> list[DoneHandful]:
        taken, jobs = list[DoneHandful](), 0
        while self._done and jobs < BATCH_LIMIT:
            taken.append(self._done.popleft())
            jobs += len(taken[-1].records)
        return taken

    def _take_others(self) -> list[tuple[Record, Outcome]]:
        """Take outcomes, and keep back those whose further records cannot be planned yet."""
        taken = [self._others.popleft() for _ in range(min(len(self._others), BATCH_LIMIT))]
        if not self._conditions:
            return taken
        ready, kept_back = list[tuple[Record, Outcome]](), list[tuple[Record, Outcome]]()
        for pair in (*self._kept_back, *taken):
            is_ready = all(condition(*pair) for condition in self._conditions)
            (ready if is_ready else kept_back).append(pair)
        for pair in kept_back:
            self._repetitions.note_pending(*pair)
        self._kept_back = kept_back
        return ready

    def _plan(self, record: Record, outcome: Outcome) -> Settlement:
        writes = plan_writes(
            record,
            outcome,
            queue=self._queue,
            worker_id=self._worker_id,
            now=utc(self._clock()),
            writers=self._writers,
            facts=EventFacts(release=self._events.release, monotonic_s=time.monotonic()),
        )
        return Settlement(record, outcome, writes)

    def _settle(self, batch: SettlementBatch) -> SettlementBatch:
        """Settle a batch, and report what is settled; return what could not be written."""
        batch = replace(batch, others=self._lone.take_out(batch.others))
        if not batch:
            return batch
        settled, failed = self._write(batch)
        failed = replace(failed, others=[item for item in failed.others if not self._lone.take_refused(item)])
        if settled:
            self._repetitions.note_settled(settled.others)
            self._on_settled(settled)
            self._publish_events(settled)
        return failed

    def _write(self, batch: SettlementBatch) -> tuple[SettlementBatch, SettlementBatch]:
        """Write a batch in its two phases; return what is settled, and what could not be written, with the reasons."""
        for item in batch.others:
            item.refusals.clear()
        try:
            self._batch_writer.write_records(batch.others)
            undone, why = self._batch_writer.write_ledger(batch)
        except KafkaException as failure:  # a fatal error of the client ends a flush in this way
            undone, why = records_of(batch.done), as_error(failure)
            for item in batch.others:
                item.refuse(why)
        return batch.split(undone, why)

    def _publish_events(self, settled: SettlementBatch) -> None:
        """Publish the events of what is settled: one for each outcome, however often its writes were repeated.

        Jobs that are done are handed over by the batch.
        """
        if self._events.publish_done is not None:
            done = settled.done_with_records
            if done:
                self._events.publish_done(done)
        for item in settled.others:
            if item.writes.event is not None:
                self._events.publish(item.writes.event)

    def _report(self, failed: SettlementBatch) -> None:
        stranded = [item.record for item in failed.others if item.is_stranded]
        stranded += (record for record, _ in self._kept_back)
        self.stranded = failed.stranded + self._repetitions.count_behind(stranded) + len(self._kept_back)
        if failed:
            self._trouble.note_failed(failed)
            if failed.is_client_finished:
                self._batch_writer.replace_client()
        elif not self._lone:
            self._trouble.note_end()


def _is_name_alone(item: Settlement) -> bool:
    """Whether an outcome writes nothing but the job's name, which goes into a batch of names."""
    return item.outcome is DONE and not item.writes.records
