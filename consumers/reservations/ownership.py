"""`Ownership`: what the thread of reservations knows of one partition while it is this process's."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from .partition_log import PartitionLog, ScopeName

FEW_ENTRIES: Final = 1_000
"""A log is not begun anew before it has so many entries."""


class TakeoverPhase(Enum):
    """How far a takeover has come."""

    RESTING = "resting"
    FINDING = "finding"
    """The last record of the log is being read, which holds from where on to read."""
    TAKING = "taking"
    """The takeover is written, and the log is being read up to it."""
    KEEPING = "keeping"
    """The levels are restored, and reservations are written."""


@dataclass(slots=True)
class Ownership:
    """One partition, while it is this process's. Its methods alone change its phase.

    Attributes:
        number: of the ownership, as `LimitReservations` counts them.
        waits_since_at_s: since when an answer of the log is awaited; None where none is.
        rests_until_at_s: when the next takeover may begin.
        since: the offset from which on the next owner is to read.
        began_at_s: when the log was begun anew, or taken over.
        most_entries: with more since then, it is begun anew.
        confirmed: the highest number of reservations that was read back.
    """

    number: int
    log: PartitionLog
    waits_since_at_s: float | None
    phase: TakeoverPhase = TakeoverPhase.RESTING
    rests_until_at_s: float = 0.0
    since: int = 0
    began_at_s: float = 0.0
    most_entries: int = FEW_ENTRIES
    confirmed: int = -1
    renewal: Renewal | None = None

    @property
    def is_resting(self) -> bool:
        """Whether no takeover has begun."""
        return self.phase is TakeoverPhase.RESTING

    @property
    def is_keeping(self) -> bool:
        """Whether its reservations are written."""
        return self.phase is TakeoverPhase.KEEPING

    def find_last(self) -> None:
        """Note that the last record of the log is being read."""
        self.phase = TakeoverPhase.FINDING

    def take_over(self) -> None:
        """Note that the takeover is written next, and the log read up to it."""
        self.phase = TakeoverPhase.TAKING

    def keep(self, now_s: float) -> None:
        """Note that the levels are restored: reservations are written from now on."""
        self.phase, self.waits_since_at_s = TakeoverPhase.KEEPING, None
        self.began_at_s, self.most_entries = now_s, FEW_ENTRIES

    def begin_anew(self, session: str, at_s: float) -> None:
        """Take over once more at this time, as another session: what the present one still writes does not count."""
        self.phase, self.rests_until_at_s = TakeoverPhase.RESTING, at_s
        self.log, self.renewal, self.confirmed = PartitionLog(session), None, -1


@dataclass(slots=True)
class Renewal:
    """The log is begun anew: a takeover of the same session, and behind it all scopes once more.

    Attributes:
        since: where it begins; None until its takeover is read back.
        left: the scopes that are still to be written.
        last: the number of the last reservations that were written of it.
    """

    since: int | None = None
    left: deque[ScopeName] = field(default_factory=deque)
    last: int = -1
