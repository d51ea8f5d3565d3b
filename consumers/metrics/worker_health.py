"""`WorkerHealth`: whether a worker's poll threads turn, and whether it has what it needs to run jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ...producers.metrics.health import HealthReport
from ...topology.counts import counted_doing
from ..inspection.queue_inspection import PartitionInspection
from ..inspection.view import QueueView
from ..poll_loop.poll_thread_watch import STUCK_AFTER_S

RESTORING: Final = "restoring"


class WorkerHealth:
    """Asked by any thread. It asks no broker, so it answers where a poll thread hangs; `live` takes no lock either.

    Args:
        is_stopping: whether the shutdown has begun.
        ended_by: the error by which the worker has ended; None while it has not, and after a `stop`.
        stuck_after_s: a poll thread hangs that has not turned for so long.
    """

    def __init__(
        self,
        worker_id: str,
        queues: Sequence[QueueView],
        is_stopping: Callable[[], bool],
        ended_by: Callable[[], BaseException | None],
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        self._worker_id, self._queues = worker_id, queues
        self._is_stopping, self._ended_by = is_stopping, ended_by
        self.stuck_after_s = stuck_after_s
        self._restored: set[str] = set()

    def live(self) -> HealthReport:
        """Not live where a poll thread hangs, or the worker has ended by an error: only a restart helps.

        A poll thread that hangs fetches and commits nothing. At a shutdown it turns as long as jobs may run, and needs
        less than half a minute for the rest; once it has ended, it need not turn.
        """
        ages_s = {view.queue: view.turn_age_s for view in self._queues}
        hanging = [age for age in ages_s.items() if age[1] >= self.stuck_after_s]
        why = [f"the poll thread of queue {name!r} has not turned for {age_s:.0f} s" for name, age_s in hanging]
        polled_s = {name: round(age_s, 3) for name, age_s in ages_s.items()}
        return HealthReport(why=(*self._why_ended(), *why), detail={"worker": self._worker_id, "polled_s": polled_s})

    def _why_ended(self) -> Iterator[str]:
        error = self._ended_by()
        if error is not None:
            yield f"the worker has ended: {error}"

    def ready(self) -> HealthReport:
        """Not ready before the first partitions are restored, without partitions that it should have, and at its end.

        Once it was ready, a later partition that is being restored changes nothing.
        """
        why = list(self._why_ended()) or (["the worker shuts down"] if self._is_stopping() else list(self._obstacles()))
        member_states = {view.queue: view.snapshot().member_state for view in self._queues}
        return HealthReport(why=tuple(why), detail={"worker": self._worker_id, "queues": member_states})

    def _obstacles(self) -> Iterator[str]:
        for view in self._queues:
            name, shown = view.queue, view.snapshot()
            if not shown.is_ready:
                yield f"queue {name!r}: {shown.lost_right or shown.waits_for or shown.member_state}"
            elif name not in self._restored:
                yield from self._first_obstacle(name, view.inspect().partitions)

    def _first_obstacle(self, name: str, partitions: Sequence[PartitionInspection]) -> Iterator[str]:
        restoring = sum(found.state == RESTORING for found in partitions)
        if restoring:
            yield f"queue {name!r}: {counted_doing(restoring, 'partition', 'wait')} until ledger and progress are read"
        else:
            self._restored.add(name)
