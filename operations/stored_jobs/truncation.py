"""`Truncation`: what a truncated dead letter states about its whole record."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from ...topology.wire import headers as wire

if TYPE_CHECKING:
    from .stored_job import StoredJob

_SIZE_DIGITS: Final = 18
"""More are damaged: Python reads no number of thousands of digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """The record itself: its place, `topic/partition/offset`, and its value's size and SHA-256, as they are written."""

    place: str
    size: str
    digest: str

    def describes(self, value: bytes) -> bool:
        """Whether these are the bytes that the dead letter stands for."""
        return self.size == str(len(value)) and self.digest == sha256(value).hexdigest()


def truncation_of(record: StoredJob) -> Truncation | None:
    """The statements of a truncated dead letter; None for any other."""
    if wire.TRUNCATED_FROM not in record.headers:
        return None
    names = (wire.TRUNCATED_FROM, wire.TRUNCATED_SIZE, wire.TRUNCATED_DIGEST)
    place, size, digest = map(record.text, names)
    return Truncation(place=place, size=size, digest=digest)


def truncation_text(record: StoredJob) -> str:
    """The part that a truncated dead letter holds and where the rest is, for people; empty for a whole one."""
    found = truncation_of(record)
    if found is None:
        return ""
    is_size = found.size.isdecimal() and len(found.size) <= _SIZE_DIGITS
    held, of = len(record.value or b""), int(found.size) if is_size else 0
    return (
        f"it holds the first {held:,} of {of:,} bytes, since no more fit this topic. The original is at {found.place} "
        "as long as that topic keeps it; a replay publishes the original, or nothing"
    )
