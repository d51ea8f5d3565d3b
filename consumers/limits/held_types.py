"""`HeldTypes`: job types without limits of their own, held for a while after `RateLimited`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from ...topology.wire.headers import JOB_TYPE
from ..gates.gate import Wait
from ..records.record import Record
from .scope import Limited


class HeldTypes:
    """Falsy where no type is held. Safe to call from all threads.

    Attributes:
        until_at_s: {job type: epoch time until which none of its jobs begins}.
    """

    def __init__(self, note_resting: Callable[[], None]) -> None:
        self._note_resting = note_resting
        self._lock = Lock()
        self.until_at_s: dict[bytes, float] = {}

    def __bool__(self) -> bool:
        return bool(self.until_at_s)

    def hold_until(self, job_type: bytes, until_at_s: float) -> None:
        """Let no job of the type begin until this epoch time, or a later one for which that was asked before."""
        with self._lock:
            held_until_at_s = max(until_at_s, self.until_at_s.get(job_type, until_at_s))
            self.until_at_s = {**self.until_at_s, job_type: held_until_at_s}
        self._note_resting()

    def wait(self, record: Record, now_s: float) -> Wait | None:
        """The wait of a record whose type is held; None where it is not, or not any more."""
        job_type = record.header(JOB_TYPE) or b""
        until_at_s = self.until_at_s.get(job_type)
        if until_at_s is None:
            return None
        if until_at_s > now_s:
            why = Limited(job_type.decode(errors="replace"), None, "a job of this type raised RateLimited")
            return Wait(until_at_s=until_at_s, why=why)
        with self._lock:
            self.until_at_s = {name: at_s for name, at_s in self.until_at_s.items() if at_s > now_s}
        self._note_resting()
        return None
