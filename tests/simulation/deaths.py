"""`Deaths`: which jobs are deadly, whom they have killed, and whether they alone are blamed for it."""

from __future__ import annotations

from collections import Counter

from confluent_kafka import Message

from stoker.consumers.isolation.suspects import CERTAIN_DEATHS, SUSPECT_AFTER
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import Dead, Outcome
from stoker.consumers.records.record import Record
from stoker.topology import Queue
from stoker.topology.wire.commit_metadata import CommitMetadata
from stoker.topology.wire.headers import ATTEMPT, JOB_ID, REASON


class Deaths:
    """The deaths of one simulation.

    Attributes:
        deadly: jobs that kill whatever process they run in, each time before they end.
        excused: deaths that may come on top, since an operator made what was known of a partition void.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._workers: Counter[bytes] = Counter()
        self._children: Counter[tuple[str, int, int]] = Counter()
        self._children_here: Counter[tuple[Assignment, int]] = Counter()
        self.deadly: set[bytes] = set()
        self.excused = 0

    def is_deadly(self, record: Record) -> bool:
        """Whether its job kills the process that it runs in."""
        return record.headers[JOB_ID] in self.deadly

    @property
    def of_workers(self) -> int:
        """How many processes were killed by jobs."""
        return sum(self._workers.values())

    def note_worker(self, record: Record, records: int) -> None:
        """A job, of which there are so many records, has killed its worker: it does not do so for ever."""
        job_id = record.headers[JOB_ID]
        self._workers[job_id] += 1
        most = SUSPECT_AFTER * records + self.excused
        assert self._workers[job_id] <= most, f"{record} has killed {self._workers[job_id]} workers"

    def note_child(self, record: Record, begun: Assignment, before: CommitMetadata, outcome: Outcome | None) -> None:
        """A job has killed its child; `before` is what its partition's owner began with, by the assignment `begun`.

        No crash is forgotten that an owner before has committed, and none is invented, but that those of whole workers
        may stand for as many as do not convict.
        """
        assignment, offset = record.assignment, record.offset
        self._children_here[begun, offset] += 1
        self._children[assignment.topic, assignment.partition, offset] += 1
        counted = assignment.crash_history.crashes[offset]
        least = before.crashes.get(offset, 0) + self._children_here[begun, offset]
        assert counted >= least, f"{record}: {least} crashes are known, and {counted} are counted"
        certain = self._children[assignment.topic, assignment.partition, offset]
        most = certain + max(0, self._queue.crash_limit - CERTAIN_DEATHS)
        assert counted <= most, f"{record}: it has killed {certain} children, and {counted} crashes are counted"
        is_over = counted >= self._queue.crash_limit
        assert isinstance(outcome, Dead) == is_over, f"{record}: after {counted} crashes it is {outcome}"

    def check_dead_letter(self, message: Message) -> None:
        """The deadly are quarantined, at no attempt's cost, and nobody else is."""
        headers = dict(message.headers() or [])
        is_quarantined = headers[REASON] == b"quarantined"
        assert is_quarantined == (headers[JOB_ID] in self.deadly), f"{headers[JOB_ID]!r} is dead: {headers[REASON]!r}"
        assert not is_quarantined or headers[ATTEMPT] == b"1", f"{headers[JOB_ID]!r} has lost attempts"
