"""`Instrument`: watches jobs on their way through a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ...producers import ProducerInstrument
from ..job.context import JobContext
from ..records.outcomes import Outcome
from ..records.record import Record


class Instrument(ProducerInstrument, Protocol):
    """Is called on the way of each job through a worker; a subclass overrides the methods that it needs.

    Give it to `Worker(instruments=[...])`, which calls it for all its queues. It is a `ProducerInstrument` as well, so
    `Producer(instruments=[...])` takes the same object, and calls `enqueued`.

    The worker calls an instrument in its own threads, several of them at once, and waits for each call: an instrument
    that blocks holds up jobs, and no part of the worker detects that. One that raises is switched off for the rest of
    the process; jobs go on. An instrument only looks: it changes nothing of what it is given.

    Of a record, `str(record)` is its place, and `headers`, `key` and `value` are as they came. The outcomes are the
    classes of `stoker.consumers.records.outcomes`.
    """

    def taken(self, records: Sequence[Record]) -> None:
        """Records go to their lanes; a delayed one does once it is due. Called by a poll thread."""

    def begun(self, record: Record, job: JobContext) -> None:
        """A decoded job is about to run. Called by its runner: for an isolated job too, in the worker.

        It is called before the last look at gates, which is on the job's own time. So it comes again for the same
        record, with no `decided` in between, where the job does not run yet: a limit, a breaker or a pause holds it
        back, or the schema that it has waited for is known by now, as the thread has found that asks for schemas. A
        record begins again where its child has died, too.
        """

    def decided(self, record: Record, outcome: Outcome) -> None:
        """A record has its outcome, after a run or without one; it is not durable yet. Called by the runner."""

    def settled(self, ended: Sequence[tuple[Record, Outcome]]) -> None:
        """Outcomes are durable; an interrupted one writes nothing. Called by a settling thread.

        An outcome may differ from what `decided` had: an excused failure, or a retry that no topic takes.
        """

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """The brokers have taken a commit: {(topic, partition): next offset to read}. Called by a poll thread.

        The same offset comes again where only the progress beyond it has changed.
        """
