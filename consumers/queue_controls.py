"""`QueueControls`: what operators order of one queue in this process, and what other threads ask of it."""

from __future__ import annotations

from collections.abc import Iterable

from ..schemas import Contract, Decoder
from ..schemas.own_records.job_events import JobEvent
from .dispatch.cancelled_jobs import CancelledJobs
from .gates.pauses import Pause, Pauses
from .limits.limits import Limits
from .settling.event_publisher import EventPublisher
from .settling.excuse import Excuse


class QueueControls:
    """Called from any thread.

    Attributes:
        queue: its name.
        pauses: all its pauses, for those who order them.
        limits: its limits, for those who order them.
    """

    def __init__(
        self,
        queue: str,
        pauses: Pauses,
        limits: Limits,
        *,
        cancelled: CancelledJobs,
        excuse: Excuse,
        decoder: Decoder,
        events: EventPublisher,
    ) -> None:
        self.queue, self.pauses, self.limits = queue, pauses, limits
        self._cancelled = cancelled
        self._excuse = excuse
        self._decoder = decoder
        self._events = events

    def pause(self, job_type: str | None, key: bytes | None) -> None:
        """Let the queue's jobs wait, or those of a type or key."""
        self.pauses.begin(Pause(self.queue, job_type, key))

    def resume(self, job_type: str | None, key: bytes | None) -> None:
        """End a pause."""
        self.pauses.end(Pause(self.queue, job_type, key))

    @property
    def standing_pauses(self) -> tuple[Pause, ...]:
        """The pauses that stand."""
        return self.pauses.standing

    def end_cancelled(self) -> int:
        """End jobs for which a cancel stands: those at gates in memory go on, those that run are ended and counted."""
        return self._cancelled.end()

    def end_cancelled_aside(self) -> int:
        """As `end_cancelled`; the jobs that wait aside are looked at as well, which reads them again."""
        ended = self._cancelled.end()
        self._cancelled.look_aside()
        return ended

    def excuse_failures(self) -> None:
        """From now on, a job whose run fails is interrupted, at no attempt's cost; called amid any line."""
        self._excuse.give()

    def note_version_order(self, contracts: Iterable[Contract]) -> None:
        """Note that these contracts come after the versions that the schema store knows by now."""
        for contract in contracts:
            self._decoder.note_version_order(contract)

    def publish(self, event: JobEvent) -> None:
        """Publish an event that is of no job."""
        self._events.publish(event)
