"""The names under which the ledger remembers jobs and attempts; twins of dead letters are found by the same names."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from .headers import IDEMPOTENCY_KEY, JOB_ID, REPLAY, HeaderMap

MOVED: Final = "moved:"
LONGEST_NAME_BYTES: Final = 1_000
SHORT_NAME_BYTES: Final = LONGEST_NAME_BYTES // 4
"""A byte that is no UTF-8 is written as four characters, so that a name may grow by as much."""
LONGEST_ATTEMPT_BYTES: Final = 50
"""An attempt of more digits is damaged, and a name of any length could not be written."""


def deduplication_id(headers: HeaderMap) -> str | None:
    """Name a record for the ledger; a name of absurd length, which no producer of ours makes, by its digest."""
    name = headers.get(IDEMPOTENCY_KEY) or headers.get(JOB_ID)
    replay = headers.get(REPLAY)
    return name_of(replay + b":" + name if replay and name else name)


def name_of(name: bytes | None) -> str | None:
    """The text of a record's name, or its digest where that is too long; None of an empty one."""
    if not name:
        return None
    text = name.decode("utf-8", "backslashreplace")
    if len(name) > SHORT_NAME_BYTES and max(len(name), len(text)) > LONGEST_NAME_BYTES:
        return f"blake2b:{blake2b(name, digest_size=32).hexdigest()}"
    return text


def attempt_name(deduplication_id: str | None, origin: bytes, attempt: bytes) -> str:
    """Name one attempt of a job, equal for all records that carry it.

    Args:
        deduplication_id: the job's name in the ledger; None where it has none.
        origin: where the job was first enqueued, as `topic/partition/offset`.
        attempt: its number, as the header has it.
    """
    number = attempt[:LONGEST_ATTEMPT_BYTES].decode("utf-8", "replace")
    return f"{MOVED}{deduplication_id or ''}@{origin.decode('utf-8', 'backslashreplace')}#{number}"
