"""`Instrument`: watches jobs on their way through a worker, such as metrics or spans do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..job.run import Run
from ..records.outcomes import Outcome
from ..records.record import Record


class Instrument(Protocol):
    """Is called at the seams of one queue's worker; a subclass overrides the methods that it needs.

    The worker calls an instrument in its own threads, several of them at once, and waits for each call: an instrument
    that blocks holds up jobs, and no part of the worker detects that. One that raises is switched off for the rest of
    the process; jobs go on. An instrument only looks: it changes nothing of what it is given.
    """

    def taken(self, records: Sequence[Record]) -> None:
        """These records go to their lanes; of a delayed one, once it is due. Called by the poll thread."""

    def begun(self, run: Run) -> None:
        """A decoded job is about to run. Called by its runner: for an isolated job too, in the worker.

        A record begins again where its child has died.
        """

    def decided(self, record: Record, outcome: Outcome) -> None:
        """A record has its outcome, after a run or without one; it is not durable yet. Called by the runner."""

    def settled(self, ended: Sequence[tuple[Record, Outcome]]) -> None:
        """These outcomes are durable; one that was interrupted writes nothing. Called by the settling thread.

        An outcome may differ from what `decided` had: an excused failure, or a retry that no topic takes.
        """

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """The brokers have taken a commit: {(topic, partition): next offset to read}. Called by the poll thread.

        The same offset comes again where only the progress beyond it has changed.
        """
