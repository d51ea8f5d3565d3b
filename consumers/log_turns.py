"""Turns over a log that many workers write and read: the parts that shares and reservations have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final, TypeVar

from ..topology.log_pace import LogPace

AGAIN_S: Final = 1.0
"""How long a takeover that has failed rests."""
REPLACED_REST_S: Final = 5.0
"""Who was replaced on the log, and has the partition by its own knowledge, waits so long for the group."""
ASK_S: Final = 5.0
"""How long the brokers' answer about one partition may take."""
IDLE_READ_S: Final = 0.05
ACTIVE_FOR_S: Final = 1.0
SILENT_AFTER_S: Final = 15.0

Awaited = TypeVar("Awaited", bound=Hashable)


class ReadPace:
    """How long one turn waits for records: shortly while something goes on, since jobs wait for what they bring.

    Args:
        active_read_s: that short time.
    """

    def __init__(self, active_read_s: float, clock: Callable[[], float]) -> None:
        self._active_read_s, self._clock = active_read_s, clock
        self._active_until_at_s = 0.0

    def note_active(self) -> None:
        """Something is asked for now: answers come within a second."""
        self._active_until_at_s = self._clock() + ACTIVE_FOR_S

    @property
    def wait_s(self) -> float:
        """How long the next read waits."""
        return self._active_read_s if self._clock() < self._active_until_at_s else IDLE_READ_S


class SilenceReport:
    """Finds what is to be reported as silent, once a minute at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pace = LogPace()

    def take_silent(self, asked_at_s: Mapping[Awaited, float]) -> list[Awaited]:
        """Return those that were asked too long ago; nothing where that was reported within the last minute.

        Args:
            asked_at_s: {what has not answered: since when it is asked}.
        """
        now_s = self._clock()
        silent = [awaited for awaited, since_at_s in asked_at_s.items() if now_s >= since_at_s + SILENT_AFTER_S]
        return silent if silent and self._pace.try_acquire(now_s) else []
