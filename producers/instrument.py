"""`ProducerInstrument`: watches the jobs that a producer enqueues, such as metrics or spans do."""

from __future__ import annotations

from typing import Protocol

from ..topology.declaration.job_type import JobCall
from .delivery import Receipt


class ProducerInstrument(Protocol):
    """Is called where a producer's jobs are confirmed; a subclass overrides the method.

    A worker's `Instrument` is one as well, so one object can watch producers and workers. One that raises is switched
    off for this producer; jobs go on. An instrument only looks: it changes nothing of what it is given.
    """

    def enqueued(self, call: JobCall, receipt: Receipt) -> None:
        """The brokers have confirmed this job; its caller gets the receipt next.

        Called by a thread that reads the brokers' answers, several of them at once. It must not block, and not enqueue.
        """
