"""Who a job is in the inbox: the same name in every attempt, after every crash, and in no other queue."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from .errors import InvalidStepName

LONGEST_JOB_BYTES: Final = 1_000
LONGEST_STEP_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """What is unique in the inbox.

    Attributes:
        queue: `<namespace>.<queue>`.
        job: the deduplication id: the idempotency key or else the job id, under a replay's name if a replay
            published it.
        step: names one of several effects of the job; empty where there is only one.
    """

    queue: str
    job: str
    step: str = ""

    @property
    def values(self) -> tuple[str, str, str]:
        """As the table takes them."""
        return (self.queue, self.job, self.step)


def identify(queue: str, deduplication_id: str, step: str = "") -> Identity:
    """Name a job for the inbox, by a digest where an index would not take the name, as only a foreign publisher's.

    Raises:
        InvalidStepName: the step's name is too long or holds a NUL.
    """
    if "\0" in step or len(step.encode()) > LONGEST_STEP_BYTES:
        raise InvalidStepName(deduplication_id, step, LONGEST_STEP_BYTES)
    encoded = deduplication_id.encode()
    if len(encoded) > LONGEST_JOB_BYTES or b"\0" in encoded:
        return Identity(queue, f"blake2b:{blake2b(encoded, digest_size=32).hexdigest()}", step)
    return Identity(queue, deduplication_id, step)
