"""`SpooledBulk`, for producers with a spool: jobs of a bulk for which no broker has answered go to the spool."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..schemas import SchemaStore
from ..topology.cluster.settings import ClusterSettings
from ..topology.declaration.job_type import JobCall
from ..topology.declaration.pipeline import Pipeline
from .bulk import MAX_DETAILED, MAX_REFUSED, BulkRun, no_call, note_account, take_all
from .delivery import BulkResult
from .errors import UNREACHED, BulkFailed, CallRefused, EnqueueError, FailedCall
from .publisher import Publisher

if TYPE_CHECKING:
    from .outbox.spool import Spool, SpoolFile

PART_CALLS: Final = 20_000
"""Calls that a bulk keeps until the brokers have confirmed them, since it may have to spool them."""


def open_spool(
    spool: Spool | None,
    pipeline: Pipeline,
    cluster: ClusterSettings,
    publisher: Publisher,
    store: SchemaStore | None,
) -> SpoolFile | None:
    """The use of a spool by a publisher's producer, if there is one; its relay opens a store where none was given."""
    if spool is None:
        return None
    from .outbox.spool import SpoolFile  # with SQLite, which other producers need not import

    source = publisher.settings.source
    return SpoolFile(spool, pipeline, cluster, source=source, framing=publisher.store, store=store)


class SpooledBulk:
    """The account of one bulk. Each part of its calls is confirmed, or in the spool, before the next one is sent.

    Attributes:
        is_over: no more calls should be read.
    """

    def __init__(self, spool: SpoolFile) -> None:
        self._spool = spool
        self._confirmed = self._spooled = self._read = self._before = 0
        self._failures: list[FailedCall] = []
        self._failed_indexes = array("Q")
        self.is_over = False

    def identified(self, call: JobCall) -> JobCall:
        """The next call of the iterable with an id, so that a second copy of it reaches the same ledger.

        Raises:
            TypeError: it is no call.
        """
        if not isinstance(call, JobCall):
            raise no_call(self._read, call)
        self._read += 1
        return self._spool.identified(call)

    def note_sent(self, part: Sequence[JobCall], run: BulkRun, silence: Exception | None) -> None:
        """Take the account of a settled run, and spool what no broker has answered for, and all that is behind it.

        Args:
            part: the calls that it was given.
            silence: the brokers did not answer before the first job of a type, so that the run has ended there.
        """
        account, unreached = run.account(), sorted(set(run.unreached))
        errors = {failure.index: failure.error for failure in account.failures}
        self._confirmed += account.confirmed
        for index in sorted({*account.failed_indexes} - {*unreached}):
            self._note_failure(part, index, errors.get(index))
        cause = silence or next((errors[index] for index in unreached if index in errors), None)
        if unreached or silence is not None:
            sent = {index: errors.get(index) for index in unreached}
            self._put(part, [*unreached, *range(account.read, len(part))], cause, sent, account.read)
        else:
            self._go_on(account.read, is_over=run.stopped)

    def put(self, part: Sequence[JobCall]) -> None:
        """Put all calls of a part behind those that are in the spool."""
        self._put(part, range(len(part)), None, {}, 0)

    def _put(
        self,
        part: Sequence[JobCall],
        indexes: Sequence[int],
        cause: Exception | None,
        sent: Mapping[int, EnqueueError | None],
        read: int,
    ) -> None:
        """Spool calls.

        Args:
            indexes: their places, ascending.
            sent: those of them that a run has sent in vain, with their errors where it has kept them.
            read: how many calls of the part that run has read.
        """
        outcomes = self._spool.put_many([part[index] for index in indexes], cause)
        for index, error in zip(indexes, outcomes, strict=False):
            if error is None:
                self._spooled += 1
            else:
                self._note_failure(part, index, error)
        last = outcomes[-1]
        if last is None or isinstance(last, CallRefused):
            self._go_on(len(part))
            return
        for index in indexes[len(outcomes) :]:
            if index in sent:  # the others were not read
                self._note_failure(part, index, sent[index])
        self._go_on(max(read, indexes[len(outcomes) - 1] + 1), is_over=True)

    def _note_failure(self, part: Sequence[JobCall], index: int, error: EnqueueError | None) -> None:
        """Note a failed call; without its error where the run has kept no more of them."""
        self._failed_indexes.append(self._before + index)
        if error is not None and len(self._failures) < MAX_DETAILED:
            call = part[index]
            self._failures.append(
                FailedCall(
                    index=self._before + index, job_type=call.job_type.name, job_id=call.options.job_id, error=error
                )
            )

    def _go_on(self, read: int, *, is_over: bool = False) -> None:
        self._before += read
        self.is_over = is_over or len(self._failed_indexes) >= MAX_REFUSED

    def account(self) -> BulkFailed:
        """The result of the calls that were read."""
        failed = tuple(sorted(self._failed_indexes))
        return BulkFailed(self._confirmed, self._before, tuple(self._failures), failed, self._spooled)

    def note_on(self, error: BaseException) -> None:
        """Note on an error that ended the reading what became of the calls before it."""
        note_account(error, self.account())

    def result(self) -> BulkResult:
        """The outcome.

        Raises:
            BulkFailed: a call failed.
        """
        if self._failed_indexes:
            raise self.account()
        return BulkResult(confirmed=self._confirmed, spooled=self._spooled)


def run_spooled_bulk(
    publisher: Publisher, spool: SpoolFile, calls: Iterable[JobCall], max_in_flight: int
) -> BulkResult:
    """Publish all calls, or spool them, and return when all are durable.

    Raises:
        BulkFailed: some failed; the others that were read are confirmed or in the spool.
    """
    bulk, each = SpooledBulk(spool), iter(calls)
    try:
        while _take_part(publisher, spool, bulk, each, max_in_flight):
            pass
    except BaseException as error:
        bulk.note_on(error)
        raise
    return bulk.result()


def _take_part(
    publisher: Publisher, spool: SpoolFile, bulk: SpooledBulk, each: Iterator[JobCall], max_in_flight: int
) -> bool:
    """Read some calls and send them; returns whether there may be more."""
    part: list[JobCall] = []
    try:
        for call in islice(each, PART_CALLS):
            part.append(bulk.identified(call))
    finally:  # also what was read before the iterable's own error
        _send_part(publisher, spool, bulk, part, max_in_flight)
    return len(part) == PART_CALLS and not bulk.is_over


def _send_part(
    publisher: Publisher, spool: SpoolFile, bulk: SpooledBulk, part: Sequence[JobCall], max_in_flight: int
) -> None:
    if not part:
        return
    if spool.is_active():
        bulk.put(part)
        return
    run = BulkRun(publisher, max_in_flight)
    silence: Exception | None = None
    try:
        take_all(run, publisher, part)
    except UNREACHED as unreached:
        silence = unreached
    finally:
        run.settle_or_give_up(publisher.settings.report_wait_s)
        bulk.note_sent(part, run, silence)
