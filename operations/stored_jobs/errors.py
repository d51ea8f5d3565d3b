"""The errors of reading, replaying and discarding stored jobs.

StoredJobsError
├── TopicAbsent        a topic of the queue does not exist
├── ReadStalled        the brokers stopped answering in the middle of a read
├── NoSuchDeadLetter   the reference or id names no dead letter
├── Fenced             another process replays or discards in the same queue
├── PublishFailed      a transaction could not be completed; starting again is safe
├── CorrectionsRefused corrected payloads do not fit their schema; nothing was published
├── UnknownReplay      no replay of that id can be continued
└── FiltersTooLong     a replay's filters do not fit beside its progress; use fewer of them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...topology.counts import counted_doing


class StoredJobsError(Exception):
    """Root of what reading, replaying and discarding stored jobs raises on purpose."""


class TopicAbsent(StoredJobsError):
    """The queue's topics were not created."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic!r} does not exist; run `stoker topology apply`")
        self.topic = topic


class ReadStalled(StoredJobsError):
    """Nothing arrived for too long although the log goes on."""

    def __init__(self, topic: str, partitions: Sequence[int], waited_s: float) -> None:
        where = ", ".join(map(str, partitions))
        super().__init__(
            f"reading {topic!r} stopped: nothing came from partition {where} for {waited_s:.0f} s; "
            "see that the brokers are up (`stoker doctor`), then start again"
        )
        self.topic, self.partitions, self.waited_s = topic, tuple(partitions), waited_s


class NoSuchDeadLetter(StoredJobsError):
    """The dead-letter topic holds no dead letter under that reference or id."""

    def __init__(self, topic: str, wanted: str) -> None:
        super().__init__(
            f"{topic!r} holds no dead letter {wanted!r}: name it by partition/offset or by job id, as "
            "`stoker dead list --all` shows them; dead letters older than the topic's retention are gone"
        )
        self.topic, self.wanted = topic, wanted


class Fenced(StoredJobsError):
    """A newer process with the same transactional id has taken over; this one published nothing since."""

    def __init__(self, transactional_id: str) -> None:
        super().__init__(
            f"another process has taken over as {transactional_id!r}, so this one stopped; its last batch was undone. "
            "Let the other one finish, then start again if anything is left: nothing is published twice"
        )
        self.transactional_id = transactional_id


class PublishFailed(StoredJobsError):
    """A batch could not be committed. What was committed before stands, and starting again continues after it."""

    def __init__(self, transactional_id: str, reason: str) -> None:
        super().__init__(
            f"publishing as {transactional_id!r} failed: {reason}. What was committed stands; "
            "fix the cause and start again: nothing is published twice"
        )
        self.transactional_id, self.reason = transactional_id, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCorrection:
    """One payload that does not fit after its correction: which dead letter, which field (dotted path), why."""

    at: str
    job_type: str
    field: str
    reason: str

    def __str__(self) -> str:
        where = f"field {self.field!r}" if self.field else "the payload"
        return f"{self.at} ({self.job_type}): {where} {self.reason}"


class CorrectionsRefused(StoredJobsError):
    """Corrected payloads break the contract; none of the selection is published, so that no half of it is."""

    def __init__(self, refused: Sequence[RefusedCorrection], total: int) -> None:
        corrections = "\n".join(f"  {correction}" for correction in refused)
        more = f"\n  … and {total - len(refused)} more" if total > len(refused) else ""
        super().__init__(
            f"{counted_doing(total, 'corrected payload', 'break')} the schema, so nothing was published; change --set "
            f"or --payload:\n{corrections}{more}"
        )
        self.refused, self.total = tuple(refused), total


class UnknownReplay(StoredJobsError):
    """The brokers hold no progress under that id."""

    def __init__(self, replay_id: str, queue: str) -> None:
        super().__init__(
            f"queue {queue!r} has no replay {replay_id!r} to continue: the id is another, or the brokers have dropped "
            "its offsets after offsets.retention.minutes (7 days by default). Correct the id, or start a new replay"
        )
        self.replay_id, self.queue = replay_id, queue


class FiltersTooLong(StoredJobsError):
    """The filters do not fit beside the progress of a replay, so a continued one could not know them."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the filters of the replay take more than {limit_bytes} bytes, and do not fit beside its progress: "
            "name fewer ids and keys, or replay in several parts"
        )
        self.limit_bytes = limit_bytes
