"""`LastCommits`: the last commit of partitions that go away: it closes them, and is waited for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ...topology.cluster.kafka_errors import Remedy, remedy_of
from ..progress.assignment import Assignment
from .commit_answers import CommitAnswers, first_error, is_too_large
from .commit_content import CommitContent, forget_past, last_state, present_state
from .spill import Spill

LAST_SPILL_S: Final = 2.0
LAST_ANSWER_S: Final = 2.0
LAST_PAUSE_S: Final = 0.1
"""Before a last commit that was refused is repeated: a coordinator that moves is often there by then."""


class LastCommits:
    """The last commit of each assignment; owned by the poll thread."""

    def __init__(self, content: CommitContent, answers: CommitAnswers, spill: Spill) -> None:
        self._content, self._answers = content, answers
        self._spill = spill
        self._last_state = last_state

    def note_crash(self) -> None:
        """Close no partition from now on: the worker ends because of its jobs, which counts as a death.

        Else one that does so whenever it is run, such as by holding the event loop, would never be suspected.
        """
        self._last_state = present_state

    def commit(self, consumer: Consumer, leaving: Iterable[Assignment]) -> None:
        """Commit these partitions before they go away, closed unless their owner has crashed; wait for the answer."""
        ending = list(leaving)
        forget_past(ending)
        for assignment in ending:
            self._spill_last(assignment)
        self._spill.wait(LAST_SPILL_S)
        self._commit(consumer, ending)
        taken = [assignment for assignment in ending if assignment.commit_state.sent is not None]
        for assignment in taken:
            self._spill.clean_last(assignment)
        if taken:
            self._spill.wait(LAST_SPILL_S)

    def _spill_last(self, assignment: Assignment) -> None:
        state = self._last_state(assignment)
        if state is not None and self._content.with_runs(assignment, state) is None:
            self._spill.offer_last(assignment)

    def _commit(self, consumer: Consumer, ending: Collection[Assignment]) -> None:
        repeat_until_at_s: float | None = time.monotonic() + LAST_ANSWER_S
        while changed := self._content.changed(ending, self._last_state):
            refusal = _commit_now(consumer, changed)
            if refusal is None or is_too_large(refusal):
                self._answers.take(refusal, changed)
            else:
                self._answers.take_refused(changed)
                if not _may_repeat(refusal, repeat_until_at_s):
                    self._answers.log_lost(refusal, changed)
                    return
                repeat_until_at_s = None
                time.sleep(LAST_PAUSE_S)


def _commit_now(consumer: Consumer, partitions: list[TopicPartition]) -> KafkaError | None:
    """Commit, and wait for the answer; why it was refused, be it for one of the partitions."""
    try:
        return first_error(consumer.commit(offsets=partitions, asynchronous=False) or ())
    except KafkaException as failure:
        return failure.args[0]  # type: ignore[no-any-return]


def _may_repeat(refusal: KafkaError, until_at_s: float | None) -> bool:
    """Whether to try a last commit once more: not after a wait for brokers that do not answer."""
    return until_at_s is not None and time.monotonic() < until_at_s and remedy_of(refusal) is Remedy.WAIT
