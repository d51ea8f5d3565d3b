"""`Commits`: commits to the group coordinator how far each partition has come, all that has changed in one request.

A commit is an offset below which everything is complete, and metadata that holds what is complete beyond it, or refers
to that (`topology/wire/commit_metadata.py`). The first commit of an assignment is sent, and answered, before any of its
jobs starts: so the next owner can distinguish a clean end from a crash. `count_complete` lets commits pass a record.

It is the last of the five files on the way of a job (docs/architecture.md).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ...topology.cluster.kafka_errors import FORBIDDEN, Remedy, remedy_of
from ...topology.log_pace import LogPace
from ...topology.wire.commit_metadata import MAX_CHARACTERS, CommitMetadata, SpilledAt
from .. import log_keys
from ..commits.spill import Spill
from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..progress.commit_state import SentCommit
from ..records.record import Record

_LOGGER = logging.getLogger("stoker.commits")

LAST_SPILL_S: Final = 2.0
LAST_ANSWER_S: Final = 2.0
LAST_PAUSE_S: Final = 0.1
"""Before a last commit that was refused is repeated: a coordinator that moves is often there by then."""
ANSWER_WITHIN_S: Final = 90.0
"""The client answers each commit sooner, also where no broker does: its own time for a request is 60 s."""
LOG_INTERVAL_S: Final = 10.0
WARY_INTERVAL_S: Final = 0.05
"""Commits are more frequent while deaths are remembered: the next owner shall know well what was running."""


def count_complete(assignment: Assignment, settled: Iterable[Record]) -> None:
    """Count its settled records as complete: commits may pass them. Those of a partition that has gone do not count."""
    if assignment.is_active:
        complete = assignment.progress.complete
        for record in settled:
            complete(record.offset)


class Commits:
    """Commits for one consumer; owned by its poll thread. `answers` counts those that the brokers took and refused."""

    def __init__(
        self,
        assignments: Assignments,
        spill: Spill,
        interval: timedelta,
        on_forbidden: Callable[[], None] = lambda: None,
        instruments: Instruments = NO_INSTRUMENTS,
    ) -> None:
        self._assignments, self._queue_name = assignments, assignments.queue_name
        self._spill = spill
        self._interval_s = interval.total_seconds()
        self._on_forbidden = on_forbidden
        self._instruments = instruments
        self._next_at_s = 0.0
        self._sent_at_s: float | None = None
        self._max_characters = MAX_CHARACTERS
        self._has_logged_useless = False
        self._log_pace = LogPace(LOG_INTERVAL_S)
        self._opening: set[Assignment] = set()
        self._opened: list[Assignment] = []
        self._last_state = last_state
        self.answers = Counter(taken=0, refused=0)

    # ---- the first commit of an assignment

    def open(self, restored: Iterable[Assignment]) -> None:
        """Commit that restored assignments have an owner; `take_opened` returns those whose commit was answered."""
        self._opening.update(restored)
        self._next_at_s = 0.0

    @property
    def is_opening(self) -> bool:
        """Whether an answer is awaited before jobs can start."""
        return bool(self._opening)

    def take_opened(self) -> list[Assignment]:
        """The assignments whose first commit was answered since the last call; their jobs may start."""
        opened, self._opened = [a for a in self._opened if a.is_current], []
        return opened

    # ---- all others

    def commit_if_due(self, consumer: Consumer) -> None:
        """Send what has changed since the last commit, if the interval is over; the answer comes to `note_answer`.

        One is on its way at a time. The client repeats a commit whose connection broke, and were there a newer one
        already, the older would undo it: the coordinator keeps what comes last.
        """
        now_s = time.monotonic()
        if now_s < self._next_at_s or self._is_under_way(now_s):
            return
        present = self._assignments.all()
        is_wary = any(assignment.crash_history.deaths for assignment in present)
        self._next_at_s = now_s + (min(WARY_INTERVAL_S, self._interval_s) if is_wary else self._interval_s)
        self._spill.serve()
        for assignment in present:
            self._spill.clean(assignment)
        _forget_past(present)
        changed = self._changed(present, present_state)
        if changed:
            try:
                consumer.commit(offsets=changed, asynchronous=True)
                self._sent_at_s = now_s
            except KafkaException as failure:
                self._take_answer(failure.args[0], changed)

    def _is_under_way(self, now_s: float) -> bool:
        return self._sent_at_s is not None and now_s - self._sent_at_s < ANSWER_WITHIN_S

    def await_answer(self, consumer: Consumer) -> None:
        """Poll until the commit that is on its way is answered, for a moment at the most; what comes is not taken."""
        give_up_at_s = time.monotonic() + LAST_ANSWER_S
        while self._sent_at_s is not None and time.monotonic() < give_up_at_s:
            consumer.poll(0.02)

    def commit_last(self, consumer: Consumer, leaving: Iterable[Assignment]) -> None:
        """Commit these partitions before they go away, closed unless their owner has crashed; wait for the answer."""
        ending = list(leaving)
        _forget_past(ending)
        for assignment in ending:
            self._spill_last(assignment)
        self._spill.wait(LAST_SPILL_S)
        self._commit_last(consumer, ending)
        taken = [assignment for assignment in ending if assignment.commit_state.sent is not None]
        for assignment in taken:
            self._spill.clean_last(assignment)
        if taken:
            self._spill.wait(LAST_SPILL_S)

    def _commit_last(self, consumer: Consumer, ending: Collection[Assignment]) -> None:
        repeat_until_at_s: float | None = time.monotonic() + LAST_ANSWER_S
        while changed := self._changed(ending, self._last_state):
            refusal = _commit_now(consumer, changed)
            if refusal is None:
                self._take_answer(None, changed)
                if self._instruments:
                    self._instruments.committed(_committed(changed))
            elif _is_too_large(refusal):
                self._take_answer(refusal, changed)
            else:
                self.answers["refused"] += 1
                self._forget_sent(changed)
                if not _may_repeat(refusal, repeat_until_at_s):
                    _LOGGER.warning(
                        "queue %r: the last offsets of partitions %s were not committed: %s. Jobs that ended since the "
                        "commit before are delivered again, and skipped", self._queue_name, _numbers(changed),
                        refusal.str(), extra=self._fields(changed),
                    )  # fmt: skip
                    return
                repeat_until_at_s = None
                time.sleep(LAST_PAUSE_S)

    def _forget_sent(self, refused: Iterable[TopicPartition]) -> None:
        """Have these sent again by the next commit, as the one of a consumer that closes after its worker's."""
        for partition in refused:
            self._take_answer_of(partition, is_refused=True)

    def note_crash(self) -> None:
        """Close no partition from now on: the worker ends because of its jobs, which counts as a death.

        Else one that does so whenever it is run, such as by holding the event loop, would never be suspected.
        """
        self._last_state = present_state

    def _spill_last(self, assignment: Assignment) -> None:
        state = self._last_state(assignment)
        if state is not None and self._with_runs(assignment, state) is None:
            self._spill.offer_last(assignment)

    def note_answer(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Take the answer to the commit on its way: what failed is sent again with the next one."""
        self._sent_at_s = None
        self._take_answer(error, partitions)
        if error is None and self._instruments:
            self._instruments.committed(_committed(partitions))

    def _take_answer(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._take_answer_of(partition, is_refused=error is not None or partition.error is not None)
        refusal = error or _first_error(partitions)
        self.answers["taken" if refusal is None else "refused"] += 1
        if refusal is not None:
            self._take_refusal(
                refusal, [partition for partition in partitions if error is not None or partition.error is not None]
            )

    def _take_answer_of(self, partition: TopicPartition, *, is_refused: bool) -> None:
        """Have what was refused sent again; open an assignment whose own first commit was taken."""
        assignment = self._assignments.find(partition.topic, partition.partition)
        if assignment is None:
            return
        state = assignment.commit_state
        if is_refused:
            state.note_refused()
        elif state.note_taken(partition.offset, partition.metadata or "") and assignment in self._opening:
            self._opening.discard(assignment)
            self._opened.append(assignment)

    def _take_refusal(self, refusal: KafkaError, refused: Collection[TopicPartition]) -> None:
        if _is_too_large(refusal):
            self._lower_limit(refused)
        elif refusal.code() in FORBIDDEN:
            self._on_forbidden()
        elif refusal.code() != KafkaError._NO_OFFSET:
            # What heals by waiting is part of an outage, or of a coordinator that moves: the worker logs the former.
            level = logging.INFO if remedy_of(refusal) is Remedy.WAIT else logging.WARNING
            self._log_refusal(level, refusal, refused)

    def _log_refusal(self, level: int, refusal: KafkaError, refused: Collection[TopicPartition]) -> None:
        """Now and then: commits follow each other every quarter of a second."""
        if self._log_pace.take(time.monotonic()):
            _LOGGER.log(
                level, "queue %r: offsets of partitions %s were not committed, and will be with the next commit: %s",
                self._queue_name, _numbers(refused), refusal.str(), extra=self._fields(refused),
            )  # fmt: skip

    def forget(self, ended: Iterable[Assignment]) -> None:
        """Wait no more for the answers to these."""
        self._opening.difference_update(ended)

    def _lower_limit(self, partitions: Collection[TopicPartition]) -> None:
        """Metadata was too large for this cluster; the answer does not name the partition."""
        refused = max(len(partition.metadata or "") for partition in partitions)
        self._max_characters = min(self._max_characters, refused // 2)
        self._next_at_s = 0.0
        _LOGGER.warning(
            "queue %r: the brokers take less than %d characters of metadata with commits (offset.metadata.max.bytes); "
            "progress that is larger than %d goes to the progress topic", self._queue_name, refused,
            self._max_characters, extra=self._fields(partitions),
        )  # fmt: skip

    def _changed(
        self, assignments: Iterable[Assignment], state_of: Callable[[Assignment], CommitMetadata | None]
    ) -> list[TopicPartition]:
        changed = []
        for assignment in assignments:
            state = state_of(assignment)
            if state is None:
                continue
            wanted = SentCommit(state.committed_offset, *self._metadata(assignment, state))
            if wanted != assignment.commit_state.sent:
                assignment.commit_state.note_sent(wanted)
                changed.append(TopicPartition(assignment.topic, assignment.partition, wanted.offset, wanted.text))
        return changed

    def _metadata(self, assignment: Assignment, state: CommitMetadata) -> tuple[str, SpilledAt | None]:
        """The state as metadata, and what this refers to if it is too large: what the brokers have confirmed so far."""
        text = self._with_runs(assignment, state)
        if text is not None:
            return text, None
        self._spill.offer(assignment)
        spilled_at = assignment.commit_state.spilled_at
        if spilled_at is not None:
            text = state.referring(spilled_at, assignment.progress.incomplete_set().count).encode(self._max_characters)
            if text is not None:
                return text, spilled_at
        return self._without_runs(assignment, state), None

    def _with_runs(self, assignment: Assignment, state: CommitMetadata) -> str | None:
        """The state with what is incomplete as metadata; None where that is too large."""
        progress = assignment.progress
        if progress.has_many_runs(self._max_characters // 2):
            return None
        return replace(state, incomplete=tuple(progress.incomplete_runs())).encode(self._max_characters)

    def _without_runs(self, assignment: Assignment, state: CommitMetadata) -> str:
        text = state.without_runs().encode(self._max_characters)
        if text is None and not self._has_logged_useless:
            self._has_logged_useless = True
            _LOGGER.error(
                "queue %r: the brokers take no more than %d characters of metadata with commits, too few to be of use; "
                "raise offset.metadata.max.bytes. Until then, what is complete beyond committed offsets is kept "
                "nowhere: after a kill, jobs out of the ledger's window run again", self._queue_name,
                self._max_characters,
                extra={log_keys.QUEUE: self._queue_name, log_keys.PARTITIONS: [assignment.partition]},
            )  # fmt: skip
        return text or ""

    def _fields(self, partitions: Iterable[TopicPartition]) -> dict[str, object]:
        return {log_keys.QUEUE: self._queue_name, log_keys.PARTITIONS: _numbers(partitions)}


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted({partition.partition for partition in partitions})


def _forget_past(assignments: Iterable[Assignment]) -> None:
    for assignment in assignments:
        assignment.crash_history.forget_past(assignment.progress)


def present_state(assignment: Assignment) -> CommitMetadata | None:
    """The metadata of a commit at this moment, without the incomplete runs; None before anything is known."""
    progress = assignment.progress
    committable = progress.committable()
    if committable is None:
        return None
    history = assignment.crash_history
    return CommitMetadata(
        committed_offset=committable,
        position=max(committable, progress.position),
        deaths=history.deaths,
        window_end=history.window_end,
        crashes=dict(history.crashes),
    )


def last_state(assignment: Assignment) -> CommitMetadata | None:
    """The metadata of an assignment's last commit: closed, also where a job is left running, since its owner lives."""
    state = present_state(assignment)
    return None if state is None else replace(state, is_open=False)


def _commit_now(consumer: Consumer, partitions: list[TopicPartition]) -> KafkaError | None:
    """Commit, and wait for the answer; why it was refused, be it for one of the partitions."""
    try:
        return _first_error(consumer.commit(offsets=partitions, asynchronous=False) or ())
    except KafkaException as failure:
        return failure.args[0]  # type: ignore[no-any-return]


def _may_repeat(refusal: KafkaError, until_at_s: float | None) -> bool:
    """Whether to try a last commit once more: not after a wait for brokers that do not answer."""
    return until_at_s is not None and time.monotonic() < until_at_s and remedy_of(refusal) is Remedy.WAIT


def _committed(partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
    """{(topic, partition): offset} of those that were not refused."""
    return {
        (partition.topic, partition.partition): partition.offset for partition in partitions if partition.error is None
    }


def _first_error(partitions: Iterable[TopicPartition]) -> KafkaError | None:
    """Brokers before Kafka 4 may refuse some partitions of a commit, and take the others."""
    return next((partition.error for partition in partitions if partition.error is not None), None)


def _is_too_large(error: KafkaError) -> bool:
    return error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE
