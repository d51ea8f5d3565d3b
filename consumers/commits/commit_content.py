"""`CommitContent`: the offset and the metadata of each partition's next commit, within what the brokers take."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from confluent_kafka import TopicPartition

from ...topology.wire.commit_metadata import MAX_CHARACTERS, CommitMetadata, SpilledAt
from .. import log_keys
from ..progress.assignment import Assignment
from ..progress.commit_state import SentCommit
from .spill import Spill

_LOGGER = logging.getLogger("stoker.commits")

StateOf = Callable[[Assignment], CommitMetadata | None]
"""The metadata of a commit without the incomplete runs; None before anything is known."""


class CommitContent:
    """Makes commits of assignments; owned by the poll thread. What does not fit one, it has `Spill` write.

    Attributes:
        max_characters: so much metadata the brokers take, as far as is known.
    """

    def __init__(self, queue_name: str, spill: Spill) -> None:
        self._queue_name = queue_name
        self._spill = spill
        self.max_characters = MAX_CHARACTERS
        self._has_logged_useless = False

    def lower_limit(self, refused_characters: int) -> None:
        """Note that so much was too large for this cluster; half of it may fit."""
        self.max_characters = min(self.max_characters, refused_characters // 2)

    def changed(self, assignments: Iterable[Assignment], state_of: StateOf) -> list[TopicPartition]:
        """The commits of those whose state has changed since their last one; they are noted as sent."""
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
        text = self.with_runs(assignment, state)
        if text is not None:
            return text, None
        self._spill.offer(assignment)
        spilled_at = assignment.commit_state.spilled_at
        if spilled_at is not None:
            text = state.referring(spilled_at, assignment.progress.incomplete_set().count).encode(self.max_characters)
            if text is not None:
                return text, spilled_at
        return self._without_runs(assignment, state), None

    def with_runs(self, assignment: Assignment, state: CommitMetadata) -> str | None:
        """The state with what is incomplete as metadata; None where that is too large."""
        progress = assignment.progress
        if progress.has_many_runs(self.max_characters // 2):
            return None
        return replace(state, incomplete=tuple(progress.incomplete_runs())).encode(self.max_characters)

    def _without_runs(self, assignment: Assignment, state: CommitMetadata) -> str:
        text = state.without_runs().encode(self.max_characters)
        if text is None and not self._has_logged_useless:
            self._has_logged_useless = True
            _LOGGER.error(
                "queue %r: the brokers take no more than %d characters of metadata with commits, too few to be of use; "
                "raise offset.metadata.max.bytes. Until then, what is complete beyond committed offsets is kept "
                "nowhere: after a kill, jobs out of the ledger's window run again", self._queue_name,
                self.max_characters,
                extra={log_keys.QUEUE: self._queue_name, log_keys.PARTITIONS: [assignment.partition]},
            )  # fmt: skip
        return text or ""


def forget_past(assignments: Iterable[Assignment]) -> None:
    """Forget what is known of deaths and crashes that these have passed."""
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
