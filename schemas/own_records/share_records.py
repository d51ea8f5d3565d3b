"""`ShareRecord`: what workers write to each other about limits that count the jobs of several workers together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from .own import decode_own, encode_own


class ShareKind(StrEnum):
    """The purpose of a record."""

    REQUEST = "request"
    GRANT = "grant"
    TAKEOVER = "takeover"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareEntry:
    """One scope of one worker. All amounts but `least` and `most` count up from zero: a lost record does no harm.

    Attributes:
        worker: the asker, or the one that is answered; a new one for each scope that it begins with.
        number: of a grant: the latest request that it answers.
        limit, value: the scope; `value` is None where the limit counts all jobs together.
        used, returned: of all that was granted so far.
        wanted: all that is to be granted, with what was granted before.
        least: with less than that more, no job can begin.
        granted: all that was granted so far, as the writer knows it.
        most: of permits: those beyond it are to be returned as they become free.
        closed_ms: nothing is to begin for so long.
    """

    worker: str
    limit: str
    value: bytes | None
    number: int = 0
    used: int = 0
    returned: int = 0
    wanted: int = 0
    least: int = 0
    granted: int = 0
    most: int = 0
    closed_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRecord:
    """A request, a grant or a takeover.

    Attributes:
        kind: one of `ShareKind`, or another one of a newer Stoker.
        coordinator: the queue whose first partition's owner gives.
        sender: the worker that writes it.
        number: of a request: counts up.
        epoch: of a grant: the offset of its coordinator's takeover.
    """

    kind: str
    coordinator: str
    sender: str
    number: int = 0
    epoch: int = 0
    entries: tuple[ShareEntry, ...] = ()
    detail: Mapping[str, str] = field(default_factory=dict)


def encode_share(record: ShareRecord) -> bytes:
    """Write a record, framed."""
    return encode_own("ShareRecord", asdict(record))


def decode_share(value: bytes | None) -> ShareRecord:
    """Read a record.

    Raises:
        Undecodable: the bytes are none.
        UnknownSchema: another version of Stoker wrote it.
    """
    datum = decode_own("ShareRecord", value)
    entries = tuple(ShareEntry(**entry) for entry in datum.pop("entries"))
    return ShareRecord(**datum, entries=entries)
