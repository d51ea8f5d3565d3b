"""`Commits`: commits to the group coordinator how far each partition has come, all that has changed in one request.

A commit is an offset below which everything is complete, and metadata that holds what is complete beyond it, or refers
to that (`topology/wire/commit_metadata.py`). The first commit of an assignment is sent, and answered, before any of its
jobs starts: so the next owner can distinguish a clean end from a crash. `count_complete` lets commits pass a record:
`Completion` (`in_flight/completion.py`) calls it for what the settler has settled.

It is the last of the five files on the way of a job (docs/architecture.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..records.record import Record
from .commit_answers import CommitAnswers
from .commit_content import CommitContent, forget_past, present_state
from .commit_pace import CommitPace
from .first_commits import FirstCommits
from .last_commits import LAST_ANSWER_S, LastCommits
from .spill import Spill


def count_complete(assignment: Assignment, settled: Iterable[Record]) -> None:
    """Count its settled records as complete: commits may pass them. Those of a partition that has gone do not count."""
    if assignment.is_active:
        complete = assignment.progress.complete
        for record in settled:
            complete(record.offset)


class Commits:
    """Commits for one consumer; its poll thread owns it with all of its parts.

    Attributes:
        first: the first commits of assignments.
        last: the last commits of assignments.
        answers: the brokers' answers.
    """

    def __init__(
        self,
        assignments: Assignments,
        spill: Spill,
        interval: timedelta,
        on_forbidden: Callable[[], None] = lambda: None,
        instruments: Instruments = NO_INSTRUMENTS,
    ) -> None:
        self._assignments = assignments
        self._spill = spill
        self._pace = CommitPace(interval)
        self._content = CommitContent(assignments.queue_name, spill)
        self.first = FirstCommits(self._pace)
        self.answers = CommitAnswers(
            assignments,
            self.first,
            content=self._content,
            pace=self._pace,
            on_forbidden=on_forbidden,
            instruments=instruments,
        )
        self.last = LastCommits(self._content, self.answers, spill)

    def commit_if_due(self, consumer: Consumer) -> None:
        """Send what has changed since the last commit, if the interval is over; the answer comes to `note_answer`."""
        now_s = time.monotonic()
        if now_s >= self._pace.next_at_s and not self._pace.is_under_way(now_s):
            self._commit(consumer, now_s)

    def _commit(self, consumer: Consumer, now_s: float) -> None:
        present = self._assignments.all()
        self._pace.begin_interval(now_s, is_wary=any(assignment.crash_history.deaths for assignment in present))
        self._spill.serve()
        for assignment in present:
            self._spill.clean(assignment)
        forget_past(present)
        changed = self._content.changed(present, present_state)
        if changed:
            try:
                consumer.commit(offsets=changed, asynchronous=True)
                self._pace.note_sent(now_s)
            except KafkaException as failure:
                self.answers.take(failure.args[0], changed)

    def note_answer(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Take the answer to the commit on its way: what failed is sent again with the next one."""
        self._pace.note_answered()
        self.answers.take(error, partitions)

    def await_answer(self, consumer: Consumer) -> None:
        """Poll until the commit that is on its way is answered, for a moment at the most; what comes is not taken."""
        give_up_at_s = time.monotonic() + LAST_ANSWER_S
        while self._pace.awaits_answer and time.monotonic() < give_up_at_s:
            consumer.poll(0.02)
