"""`Rebalance`: takes partitions from the owner before, and gives them up to the next; owned by the poll thread."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from .. import log_keys
from ..carrying.carrier import Carrier
from ..commits.commits import Commits
from ..dispatch.job_threads import JobThreads
from ..in_flight.memory_bounds import partitions_of
from ..partitions.assignments import Assignments
from ..partitions.restore_thread import Restoring
from ..progress.assignment import Assignment
from ..progress.partition_progress import OffsetsWentBack
from ..sources.source import Reader
from .partition_reading import PartitionReading, seek
from .taking_back import TakingBack

_LOGGER = logging.getLogger("stoker.worker")

RETAKE_WITHIN_S: Final = 10.0
"""How long a partition that is restored anew waits for its running jobs, and for the answers to its copies; jobs that
go on are then settled as late."""


@dataclass(frozen=True, slots=True)
class _Retake:
    """A partition that is given up, to be taken again once nothing of it is on its way, or by the monotonic time."""

    leaving: list[Assignment]
    until_at_s: float

    def is_due(self, awaits_answers: Callable[[int], bool]) -> bool:
        """Whether its jobs have ended, and no copy of a partition number is on its way, as far as it is to wait."""
        is_over = time.monotonic() >= self.until_at_s
        return is_over or not any(a.unsettled or awaits_answers(a.partition) for a in self.leaving)


class Rebalance:
    """Begins and ends the assignments of a queue's partitions as they come and go.

    `changes` counts {change: how often the group made it}.
    """

    def __init__(
        self,
        assignments: Assignments,
        restoring: Restoring,
        commits: Commits,
        *,
        reading: PartitionReading,
        taking_back: TakingBack,
        carrier: Carrier,
        threads: JobThreads,
    ) -> None:
        self._assignments, self._fetch_order = assignments, assignments.fetch_order
        self._restoring = restoring
        self._first_commits, self._last_commits = commits.first, commits.last
        self._reading = reading
        self._taking_back = taking_back
        self._carrier = carrier
        self._threads = threads
        self._begun_anew: list[Assignment] = []
        self._retakes: list[_Retake] = []
        self._sought: set[Assignment] = set()
        self.changes = Counter(assigned=0, revoked=0, lost=0)

    def take(self, given: list[TopicPartition]) -> None:
        """Begin to restore what the group has assigned.

        Where order is strict or jobs are unique, a partition that joins others of its number is restored together with
        them: what was read of their waiting topics may be older than the ledger that is read with this one.
        """
        self.changes["assigned"] += 1
        added = self._assignments.add(given)
        joined = self._fetch_order.joined(added)
        numbers = {assignment.partition for assignment in joined}
        alone = [assignment for assignment in added if assignment.partition not in numbers]
        if alone:
            self._restoring.begin(alone)
        for assignment in joined:
            self.restore_anew(assignment)

    @property
    def is_beginning(self) -> bool:
        """Whether partitions wait for what ends no poll: for what they need, or the answer to their first commit."""
        return self._restoring.is_busy or self._first_commits.is_opening

    def begin_restored(self, consumer: Consumer) -> None:
        """Commit what is restored, and fetch what is opened by that; `consumer` is the group's."""
        self._retake_due(consumer)
        restored = self._assignments.take_restored()
        if restored:
            self._first_commits.open(restored)
        opened = self._first_commits.take_opened() + self._take_begun_anew()
        if opened:
            self._seek(consumer, opened)
            self._reading.begin(consumer, opened)

    def _take_begun_anew(self) -> list[Assignment]:
        begun, self._begun_anew = [a for a in self._begun_anew if a.is_current], []
        return begun

    def _seek(self, consumer: Consumer, opened: list[Assignment]) -> None:
        """Have the group's consumer read from where these begin, as far as it reads elsewhere."""
        if self._sought:
            seek(consumer, [assignment for assignment in opened if assignment in self._sought])
            self._sought = {a for a in self._sought.difference(opened) if a.is_active}

    def begin_anew(self, former: Assignment, cause: OffsetsWentBack) -> None:
        """Replace the assignment of a partition whose offsets went back; the jobs that run of it may end.

        Nothing of it is taken before its consumer reads from where the new one begins, by `begin_restored`. What has a
        place before others of its key is read first: also copies on their way, whose records may not come again.
        """
        _LOGGER.warning(
            "%s/%d: %s. The topic was created again or truncated, or its offsets were moved; what comes is run, unless "
            "the ledger remembers it, and what runs may end", former.topic, former.partition, cause,
            extra={log_keys.QUEUE: self._assignments.queue_name, log_keys.PARTITIONS: [former.partition]},
        )  # fmt: skip
        is_known_first = former.source.has_copies or self._is_awaited(former) or self._carrier.is_copying(former)
        begun = self._assignments.begin_anew(former, cause.offset)
        self._reading.end([TopicPartition(former.topic, former.partition)])
        self._taking_back.drop([former])
        if is_known_first or self._fetch_order.holds_carried(former.partition):
            self.restore_anew(former)
        else:
            self._begun_anew.append(begun)
            self._sought.add(begun)

    def _is_awaited(self, assignment: Assignment) -> bool:
        """Whether keys wait for what is there of them, so that it must be known before any of their jobs starts."""
        return self._assignments.queue.ordering == "strict" and assignment.source.goes_ahead

    def note_gone(self, assignment: Assignment) -> None:
        """Note that records of an assignment are not in the log any more; no key shall wait for them."""
        if self._is_awaited(assignment) and assignment.is_current:
            self.restore_anew(assignment)

    def restore_anew(self, assignment: Assignment) -> None:
        """Give up a partition, of all topics, and take it again: what its keys await is read anew.

        It rests until its running jobs have ended, and its copies are answered, or for `RETAKE_WITHIN_S`.
        """
        topics = self._assignments.queue.job_topics
        leaving = self._leave([TopicPartition(topic, assignment.partition) for topic in topics])
        self._retakes = [retake for retake in self._retakes if retake.leaving[0].partition != assignment.partition]
        self._retakes.append(_Retake(leaving, time.monotonic() + RETAKE_WITHIN_S))

    def _retake_due(self, consumer: Consumer) -> None:
        """Take partitions again whose jobs have ended, unless the group has taken them back meanwhile.

        Copies on their way must be there before the carried topic is read: their records may not come again.
        """
        due = [retake for retake in self._retakes if retake.is_due(self._carrier.awaits_answers)]
        for retake in due:
            self._retakes.remove(retake)
            leaving = [assignment for assignment in retake.leaving if assignment.is_active]
            if leaving:
                consumer.pause(partitions_of(a for a in leaving if a.source.reader is Reader.GROUP))
                self.commit_last(consumer, leaving)
                self._assignments.end(leaving)
                added = self._assignments.add(partitions_of(leaving))
                self._sought.update(new for new, former in zip(added, leaving, strict=True) if self._has_read(former))
                self._restoring.begin(added)

    def _has_read(self, former: Assignment) -> bool:
        """Whether the consumer may read elsewhere than where a partition begins; the client seeks none that is new."""
        return former in self._sought or former.progress.committable() is not None

    def revoke(
        self, consumer: Consumer, taken: list[TopicPartition], wait_ended: Callable[[list[Assignment]], None]
    ) -> None:
        """Give partitions up in order: their running jobs may end and be settled, and what is complete is committed."""
        self.changes["revoked"] += 1
        leaving = self._leave(taken)
        wait_ended(leaving)
        self.commit_last(consumer, leaving)
        self._assignments.end(leaving)

    def commit_last(self, consumer: Consumer, leaving: list[Assignment]) -> None:
        """Commit what is complete of these, and close them, unless jobs have brought this worker down by now."""
        if self._threads.is_down_by_jobs:
            self._last_commits.note_crash()
        self._last_commits.commit(consumer, leaving)

    def lose(self, taken: list[TopicPartition]) -> None:
        """Give partitions up that are another worker's already: there is nothing to wait for, and nothing to commit."""
        self.changes["lost"] += 1
        self._assignments.end(self._leave(taken))

    def _leave(self, taken: list[TopicPartition]) -> list[Assignment]:
        """Start and read no more of these partitions; what runs goes on."""
        leaving = self._assignments.leave(taken)
        self._first_commits.forget(leaving)
        self._reading.end(taken)
        self._taking_back.drop(leaving)
        return leaving

    def drop_unbegun(self, leaving: list[Assignment]) -> None:
        """Drop what has not begun."""
        self._taking_back.drop(leaving)

    def log(self, what: str, changed: list[TopicPartition]) -> None:
        """Log which partitions came or went, if any, and which this worker holds by now."""
        if not changed:
            return
        numbers, held = sorted({partition.partition for partition in changed}), list(self._assignments.main_partitions)
        extra: dict[str, object] = {log_keys.QUEUE: self._assignments.queue_name, log_keys.PARTITIONS: numbers}
        _LOGGER.info("partitions %s: %s; this worker holds %s", what, numbers, held or "none", extra=extra)
