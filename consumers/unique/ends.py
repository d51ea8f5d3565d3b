"""The records of unique jobs on the ledger: of each that has run and has ended, when it came, ran and ended.

A restart may find jobs that came before that end and have not had their turn. By these records it decides as the owner
before has, or would have. Each has a key of its own, so that what an owner writes late replaces nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from ...schemas import Undecodable, decode_own, encode_own, is_own
from .arrival import Arrival, Identity, utc_of
from .holder import Holder, HolderPhase

ENDED_KEY: Final = b"unique:"
SECOND_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class UniqueEnd:
    """A unique job that has ended; times in epoch milliseconds."""

    job_type: str
    identity: Identity
    arrival: Arrival
    began_ms: int
    stopped_ms: int
    ended_ms: int

    def holder(self) -> Holder:
        """The holder that it was."""
        return Holder(
            arrival=self.arrival,
            first_ms=self.arrival.at_ms,
            phase=HolderPhase.ENDED,
            began_ms=self.began_ms,
            stopped_ms=self.stopped_ms,
            ended_ms=self.ended_ms,
        )


def end_record(end: UniqueEnd) -> tuple[bytes, bytes]:
    """Key and value of a record of the ledger."""
    key, identity = end.identity
    place = f"{end.arrival.offset} {end.arrival.at_ms}".encode()
    name = blake2b(b"\0".join((key, identity, place)), digest_size=16).hexdigest()
    value = {
        "key": key,
        "identity": identity,
        "job_type": end.job_type,
        "name": end.arrival.name,
        "job_id": end.arrival.job_id,
        "arrived": utc_of(end.arrival.at_ms),
        "offset": end.arrival.offset,
        "began": utc_of(end.began_ms),
        "stopped": utc_of(end.stopped_ms),
        "ended": utc_of(end.ended_ms),
    }
    return ENDED_KEY + name.encode(), encode_own("UniqueEnd", value)


def end_in(key: bytes, value: bytes) -> UniqueEnd | None:
    """Read a record of the ledger; None where it is of another kind, or of another version of Stoker."""
    if not key.startswith(ENDED_KEY) or not is_own("UniqueEnd", value):
        return None
    try:
        found = decode_own("UniqueEnd", value)
    except Undecodable:
        return None
    times = {name: round(found[name].timestamp() * SECOND_MS) for name in ("arrived", "began", "stopped", "ended")}
    return UniqueEnd(
        job_type=found["job_type"],
        identity=(found["key"], found["identity"]),
        arrival=Arrival(times["arrived"], found["offset"], found["name"], found["job_id"]),
        began_ms=times["began"],
        stopped_ms=times["stopped"],
        ended_ms=times["ended"],
    )
