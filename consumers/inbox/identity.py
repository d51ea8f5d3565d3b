"""Who a job is in the inbox: the same name in every attempt, after every crash, and in no other queue."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from .errors import InvalidEffectName

LONGEST_JOB_BYTES: Final = 1_000
LONGEST_EFFECT_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """The name of one effect, unique in the inbox.

    Attributes:
        queue: `<namespace>.<queue>`.
        job: the deduplication id: the idempotency key or else the job id, under a replay's name if a replay
            published it.
        effect: its name, where the job has several; else empty.
    """

    queue: str
    job: str
    effect: str = ""

    @property
    def values(self) -> tuple[str, str, str]:
        """As the table takes them."""
        return (self.queue, self.job, self.effect)


def identify(queue: str, deduplication_id: str, effect: str = "") -> Identity:
    """Name a job for the inbox, by a digest where an index would not take the name, as only a foreign publisher's.

    Raises:
        InvalidEffectName: the effect's name is too long or holds a NUL.
    """
    if "\0" in effect or len(effect.encode()) > LONGEST_EFFECT_BYTES:
        raise InvalidEffectName(deduplication_id, effect, LONGEST_EFFECT_BYTES)
    encoded = deduplication_id.encode()
    if len(encoded) > LONGEST_JOB_BYTES or b"\0" in encoded:
        return Identity(queue, f"blake2b:{blake2b(encoded, digest_size=32).hexdigest()}", effect)
    return Identity(queue, deduplication_id, effect)
