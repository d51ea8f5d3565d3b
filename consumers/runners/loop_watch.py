"""`LoopWatch`: finds out whether an event loop turns, for how long it does not, and which job holds it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Final

from ..records.job_fields import job_fields
from .async_slots import AsyncSlot, LoopState
from .stacks import describe_frames, innermost, thread_frames

_LOGGER = logging.getLogger("stoker.timeouts")

BLOCKED_AFTER_S: Final = 1.0
"""An event loop that has not turned for so long is reported, with the job that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopInspection:
    """One event loop, and for how long it has not turned."""

    name: str
    blocked_s: float
    stack: tuple[str, ...]


class LoopWatch:
    """Sees for how long a loop has not answered. The watchdog calls it, and the loop calls `note_answer`.

    Attributes:
        blocked_s: for how long the loop has not turned, as the watchdog saw it last; 0 while it does.
    """

    def __init__(self, name: str, state: LoopState) -> None:
        self._name = name
        self._state = state
        self._asked_at_s: float | None = None
        self._has_answered = False
        self._blocking_slot: AsyncSlot | None = None
        self.blocked_s = 0.0

    @property
    def is_asked(self) -> bool:
        """Whether the loop was asked, and `look` has not found its answer yet."""
        return self._asked_at_s is not None

    @property
    def blocking_slot(self) -> AsyncSlot | None:
        """The slot whose job holds the loop, where that is known: tasks that a job has started have no slot."""
        return self._state.inside if self.blocked_s else None

    def note_asked(self, now_s: float) -> None:
        """Note that the loop is asked to answer, before it is."""
        self._asked_at_s, self._has_answered = now_s, False

    def note_answer(self) -> None:
        """Note that the loop turns; called on it."""
        self._has_answered = True

    def look(self, now_s: float, slots: Iterable[AsyncSlot]) -> None:
        """See whether the loop has answered; report once which job holds it if it has not for long.

        Args:
            slots: those of the loop; once it turns again, the jobs there that it has held up get the lost time back.
        """
        if self._asked_at_s is None:
            return
        if self._has_answered:
            self._note_turned(self._asked_at_s, slots)
            return
        self.blocked_s = now_s - self._asked_at_s
        if self.blocked_s > BLOCKED_AFTER_S and not self._state.is_blocked:
            self._state.is_blocked = True
            self._blocking_slot = self._state.inside
            self._report_blocked()

    def _note_turned(self, asked_at_s: float, slots: Iterable[AsyncSlot]) -> None:
        if self._state.is_blocked:
            for slot in slots:
                run = slot.run
                if run is not None and slot is not self._blocking_slot and run.began_at_s < asked_at_s:
                    run.give_back(self.blocked_s)
        self._asked_at_s, self._blocking_slot = None, None
        self.blocked_s, self._state.is_blocked = 0.0, False

    def frames(self) -> list[FrameType]:
        """Where the loop's thread is, the innermost last."""
        return thread_frames(self._state.thread_id)

    def inspect(self) -> LoopInspection:
        """Whether the loop turns, and where it is if it does not."""
        stack = innermost(self.frames()) if self.blocked_s > BLOCKED_AFTER_S else ()
        return LoopInspection(name=self._name, blocked_s=self.blocked_s, stack=stack)

    def _report_blocked(self) -> None:
        run = self._blocking_slot.run if self._blocking_slot is not None else None
        who = f"job {run.shown_id} ({run.job_type})" if run is not None else "something that a job started"
        extra = job_fields(run.record, run.queue) if run is not None else {}
        _LOGGER.warning(
            "%s has held the event loop for %.1f s, so that no other async job goes on; it should await, or run as a "
            "sync job\n%s", who, self.blocked_s, describe_frames(self.frames()), extra=extra,
        )  # fmt: skip
