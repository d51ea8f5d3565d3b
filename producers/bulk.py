"""One bulk: many calls published at full speed with a bounded number in flight, and an account of every failure."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, Message

from ..topology.counts import counted
from ..topology.declaration.job_type import AnyJobType, JobCall
from .admission.admission import Admission
from .connection import OnDelivery
from .delivery import BulkResult, delivery_error, receipt_of, why_unconfirmed
from .errors import UNREACHED, BulkFailed, CallRefused, EnqueueError, FailedCall, QueueFull
from .publisher import Publisher
from .record import BuiltRecord

MAX_DETAILED: Final = 100
"""Failures that are kept with their errors; of the others only the place in the iterable."""
MAX_REFUSED: Final = 1_000
"""A bulk with so many calls refused is wrong as a whole, and stops."""
ROOM_POLL_S: Final = 0.02
_GIVEN_UP: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


class BulkRun:
    """The state of one bulk. Calls are read until one fails for the cluster's sake, or too many for their own.

    A record that is no longer in flight and was not reported as failed is confirmed. To make a run blocks: it borrows a
    connection of the publisher. `settle` gives it back, and so does `settle_or_give_up` where all was answered.

    Attributes:
        unreached: places of the failures that are no fault of the call: no broker has answered in time.
    """

    def __init__(self, publisher: Publisher, max_in_flight: int) -> None:
        publisher.check_usable()
        self._publisher, self._max_in_flight = publisher, max_in_flight
        self._connection = publisher.connections.lend()
        self._instruments, self._figures = publisher.instruments, publisher.figures
        self._covers = publisher.readiness.covers
        self._room = 0
        self._read = 0
        self._accepted = 0
        self._refused = 0
        self._unsent = 0
        self._lost = 0
        self._failures: list[FailedCall] = []
        self._failed_indexes = array("Q")
        self.unreached = array("Q")

    @property
    def stopped(self) -> bool:
        """Whether no more calls should be read."""
        return self._unsent > 0 or self._lost > 0 or self._refused >= MAX_REFUSED

    def unprepared(self, call: JobCall) -> AnyJobType | None:
        """The call's job type, where the publisher must prepare it before `build`; None where it need not.

        Raises:
            TypeError: what was read from the iterable is no call.
        """
        try:
            job_type = call.job_type
        except AttributeError:
            raise no_call(self._read, call) from None
        return None if self._covers(job_type) else job_type

    def build(self, call: JobCall) -> BuiltRecord | None:
        """Count the call and make its record; None when it was refused, which is noted."""
        self._read += 1
        try:
            return self._publisher.build(call)
        except CallRefused as refusal:
            self._refused += 1
            self._note(self._read - 1, call.job_type.name, call.options.job_id, refusal)
            return None

    def offer(self, call: JobCall, record: BuiltRecord) -> bool:
        """Publish the record of the call just built, unless there is no room; then False."""
        if self._room <= 0 and not self._find_room():
            return False
        on_delivery: OnDelivery = partial(
            self._note_delivery, self._read - 1, call.job_type.name, record.job_id, record.topic
        )
        if self._instruments:
            on_delivery = partial(self._note_watched, call, record, on_delivery)
        try:
            taken = self._connection.offer(record, on_delivery)
        except EnqueueError as refusal:
            self._unsent += 1
            self._note(self._read - 1, call.job_type.name, record.job_id, refusal)
            return True
        if taken and self._figures is not None:
            self._figures.note_sent(call.job_type.name)
        self._accepted += taken
        self._room = self._room - 1 if taken else 0
        return taken

    def _find_room(self) -> bool:
        """Read the reports that are there, and count how many records may be published before the next look."""
        self._connection.poll(0)
        free = self._max_in_flight - self._connection.in_flight
        self._room = min(free, 500)
        return self._room > 0

    def refuse(self, call: JobCall, error: EnqueueError) -> None:
        """Note in place of `build` that the cluster takes no job of this queue now: the bulk stops."""
        self._read += 1
        self._unsent += 1
        self._note(self._read - 1, call.job_type.name, call.options.job_id, error)

    def read_reports(self) -> None:
        """Take what the brokers have confirmed, without waiting."""
        self._connection.poll(0)

    def wait_room(self) -> None:
        """Give the brokers a moment to confirm something."""
        self._connection.poll(ROOM_POLL_S)

    def drop(self, call: JobCall, record: BuiltRecord) -> None:
        """Note that the record just built found no room in time."""
        self._unsent += 1
        self._note(self._read - 1, call.job_type.name, record.job_id, self._publisher.full(record))

    def _note_delivery(  # librdkafka gives the last two by position, and a partial binds the others
        self, index: int, job_type: str, job_id: str, topic: str, error: KafkaError | None, message: Message
    ) -> None:
        fault = why_unconfirmed(error, message)
        if fault is not None:
            self._lost += 1
            self._note(index, job_type, job_id, delivery_error(fault, job_id, topic, self._connection.outage))
            if fault.code() in _GIVEN_UP:
                self.unreached.append(index)

    def _note_watched(
        self, call: JobCall, record: BuiltRecord, note: OnDelivery, error: KafkaError | None, message: Message
    ) -> None:
        if why_unconfirmed(error, message) is None:
            receipt = receipt_of(message, record.job_id, record.topic)
            self._instruments.enqueued(call, replace(receipt, due_at=record.due_at))
        note(error, message)

    def _note(self, index: int, job_type: str, job_id: str | None, error: EnqueueError) -> None:
        self._failed_indexes.append(index)
        if self._figures is not None:
            self._figures.note_failed(job_type, error)
        if isinstance(error, UNREACHED):
            self.unreached.append(index)
        if len(self._failures) < MAX_DETAILED:
            self._failures.append(FailedCall(index=index, job_type=job_type, job_id=job_id, error=error))

    def settle(self, timeout_s: float) -> None:
        """Wait until every record has been confirmed or reported; what is neither by then counts as failed."""
        try:
            self._flush(timeout_s)
        finally:
            self._publisher.connections.take_back(self._connection)

    def _flush(self, timeout_s: float) -> None:
        if self._connection.flush(timeout_s):
            self._connection.abandon()

    def settle_or_give_up(self, timeout_s: float) -> None:
        """Wait as `settle`, but give up on all that is in flight as soon as the brokers have left one unanswered.

        So none is confirmed after an earlier one of its key has failed.
        """
        give_up_at_s = time.monotonic() + timeout_s
        while self._connection.in_flight and not self.unreached and time.monotonic() < give_up_at_s:
            self.wait_room()
        self._flush(0)
        if not self.unreached:
            self._publisher.connections.take_back(self._connection)

    @property
    def confirmed(self) -> int:
        """How many records are confirmed; valid once settled."""
        return self._accepted - self._lost

    def note_on(self, error: BaseException) -> None:
        """Note on an error that ended the reading what became of the calls before it."""
        note_account(error, self.account())

    def account(self) -> BulkFailed:
        """The result of the calls that were read; valid once settled."""
        failures = tuple(sorted(self._failures, key=lambda failure: failure.index))
        return BulkFailed(self.confirmed, self._read, failures, tuple(sorted(self._failed_indexes)))

    def result(self) -> BulkResult:
        """The outcome of a settled bulk.

        Raises:
            BulkFailed: a call failed.
        """
        if self._failed_indexes:
            raise self.account()
        if self.confirmed:
            self._connection.outage.end()
        return BulkResult(confirmed=self.confirmed)


def no_call(number: int, given: object) -> TypeError:
    """The error for what was read from the iterable and is no call."""
    return TypeError(f"number {number} is a {type(given).__name__}, and no call: give job_type.call(...)")


def note_account(error: BaseException, account: BulkFailed) -> None:
    """Note on an error that ended a bulk what became of the calls before it: in its notes, and as `bulk`."""
    spooled = f", and {account.spooled:,} were spooled" if account.spooled else ""
    were = "was" if account.confirmed == 1 else "were"
    error.add_note(f"before this, {counted(account.confirmed, 'job')} of the bulk {were} confirmed{spooled}")
    if account.failed_indexes:
        error.add_note(f"and {len(account.failed_indexes):,} failed: {account}")
    with suppress(AttributeError):  # a class with slots has no room for it
        error.bulk = account  # type: ignore[attr-defined]  # an attribute of ours on any error


def run_bulk(publisher: Publisher, calls: Iterable[JobCall], max_in_flight: int) -> BulkResult:
    """Publish all calls and wait until the brokers have confirmed them.

    Raises:
        BulkFailed: some failed; the others that were read are confirmed.
    """
    run = BulkRun(publisher, max_in_flight)
    try:
        take_all(run, publisher, calls)
    except BaseException as error:  # the iterable's own error, or Ctrl-C: settle what was published, then pass it on
        run.settle(publisher.settings.report_wait_s)
        run.note_on(error)
        raise
    run.settle(publisher.settings.report_wait_s)
    return run.result()


def take_all(run: BulkRun, publisher: Publisher, calls: Iterable[JobCall]) -> None:
    """Publish calls until there are no more, or the run has stopped."""
    admission = publisher.admission
    for call in calls:
        job_type = run.unprepared(call)
        if job_type is not None:
            publisher.prepare(job_type)
        record = run.build(call) if admission is None or _is_admitted(run, admission, call) else None
        if record is not None and not run.offer(call, record):
            _offer_when_room(run, publisher, call, record)
        if run.stopped:
            return


def _is_admitted(run: BulkRun, admission: Admission, call: JobCall) -> bool:
    try:
        waiting = admission.waiting_call(call, in_bulk=True)
        while waiting is not None and not waiting.is_admitted():
            run.wait_room()
    except QueueFull as full:
        run.refuse(call, full)
        return False
    return True


def _offer_when_room(run: BulkRun, publisher: Publisher, call: JobCall, record: BuiltRecord) -> None:
    give_up_at_s = time.monotonic() + publisher.settings.report_wait_s
    while not run.offer(call, record):
        run.wait_room()
        if time.monotonic() >= give_up_at_s:
            run.drop(call, record)
            return
