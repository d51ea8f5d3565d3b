"""`ReservationRecord`: what the owner of a partition writes about limits by key and by tenant, for the next owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from .own import decode_own, encode_own

UNKNOWN_MS: Final = "unknown_ms"
"""In `detail` of a takeover: so long ago nothing was known, and all scopes without a record since then were full."""
RENEWS: Final = "renews"
"""In `detail` of a takeover: the owner writes its log anew; it counts only if no other session has taken over."""


class ReservationKind(StrEnum):
    """The purpose of a record."""

    TAKEOVER = "takeover"
    RESERVATIONS = "reservations"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationEntry:
    """The whole state of one scope; the last one of a scope counts.

    Attributes:
        limit, value: the scope: a limit's name, and a key or tenant.
        reserved: so much may be used within two seconds, beside what is used.
        ages_ms, amounts: of a window, how long ago each amount was used at the latest; negative for the future.
        tokens: of a token bucket, what it has in thousandths; None for a window.
    """

    limit: str
    value: bytes
    reserved: int = 0
    ages_ms: tuple[int, ...] = ()
    amounts: tuple[int, ...] = ()
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRecord:
    """A takeover, or reservations.

    Attributes:
        kind: one of `ReservationKind`, or another one of a newer Stoker.
        session: one time that one worker owns the partition.
        number: of reservations: counts up.
        since: the offset of a takeover; nothing before it is needed any more.
    """

    kind: str
    session: str
    number: int = 0
    since: int = 0
    entries: tuple[ReservationEntry, ...] = ()
    detail: Mapping[str, str] = field(default_factory=dict)


def encode_reservation(record: ReservationRecord) -> bytes:
    """Write a record, framed."""
    return encode_own("ReservationRecord", asdict(record))


def decode_reservation(value: bytes | None) -> ReservationRecord:
    """Read a record.

    Raises:
        Undecodable: the bytes are none.
        UnknownSchema: another version of Stoker wrote it.
    """
    datum = decode_own("ReservationRecord", value)
    return ReservationRecord(**{**datum, "entries": tuple([_entry_of(entry) for entry in datum["entries"]])})


def _entry_of(datum: Mapping[str, Any]) -> ReservationEntry:
    return ReservationEntry(
        limit=datum["limit"],
        value=datum["value"],
        reserved=datum["reserved"],
        ages_ms=tuple(datum["ages_ms"]),
        amounts=tuple(datum["amounts"]),
        tokens=datum["tokens"],
    )
