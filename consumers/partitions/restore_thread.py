"""`Restoring`: reads what new assignments need, in a thread of its own, while their partitions rest."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Final

from ...topology import ClusterSettings, Queue
from ...topology.log_pace import LogPace
from .. import log_keys
from ..guarded_thread import GuardedThread, first_crash
from ..kafka.log_tail import Unrestorable
from ..progress.assignment import Assignment
from .counterparts import CounterpartsMissing
from .restore import Restored, restore

_LOGGER = logging.getLogger("stoker.ledger")

RETRY_PAUSE_S: Final = 0.25
REPAIR_PAUSE_S: Final = 1.0
"""Between two checks whether a person has made the missing partitions."""
LOUD_AFTER_S: Final = 5.0
"""A leader that moves is back in a moment."""

FindMissing = Callable[[Iterable[int]], CounterpartsMissing | None]


class Restoring:
    """Restores assignments of one queue, a partition after the other; each begins as soon as it is restored."""

    def __init__(
        self,
        queue: Queue,
        cluster: ClusterSettings,
        *,
        find_missing: FindMissing,
        on_restored: Callable[[Restored], None],
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._cluster = cluster
        self._find_missing = find_missing
        self._on_restored = on_restored
        self._on_trouble = on_trouble
        self._stopping = threading.Event()
        self._threads: list[GuardedThread] = []

    def begin(self, added: Collection[Assignment]) -> None:
        """Restore these; `on_restored` is called by another thread."""
        thread = GuardedThread(f"stoker-restore-{self._queue.name}", partial(self._restore_until_done, added))
        self._threads = [former for former in self._threads if former.is_alive or former.crashed is not None]
        self._threads.append(thread)
        thread.start()

    @property
    def crashed(self) -> BaseException | None:
        """Why partitions would rest without an end, as in an idle queue: the worker stops; None where all is well."""
        return first_crash(self._threads)

    @property
    def is_busy(self) -> bool:
        """Whether something is being restored."""
        return any(thread.is_alive for thread in self._threads)

    def stop(self) -> None:
        """Begin nothing more, and give up what is under way."""
        self._stopping.set()

    def _restore_until_done(self, added: Collection[Assignment]) -> None:
        obstacles = _ObstacleLog(self._queue.name)
        waiting = list(added)
        while not self._is_pointless(waiting):
            try:
                missing = self._find_missing({assignment.partition for assignment in waiting})
                for restored in self._restore(waiting, missing):
                    waiting = [a for a in waiting if a.partition not in restored.ledgers]
                    self._on_restored(restored)
                if missing is None:
                    obstacles.end()
                    return
                obstacles.note(missing)
                self._stopping.wait(REPAIR_PAUSE_S)
            except Unrestorable as error:
                self._note_unrestorable(error, waiting, obstacles)
                self._stopping.wait(RETRY_PAUSE_S)

    def _note_unrestorable(self, error: Unrestorable, waiting: Collection[Assignment], obstacles: _ObstacleLog) -> None:
        if self._is_pointless(waiting):
            return
        obstacles.note(error)
        if obstacles.was_logged:
            self._on_trouble()

    def _restore(self, waiting: Collection[Assignment], missing: CounterpartsMissing | None) -> Iterator[Restored]:
        whole = [a for a in waiting if missing is None or a.partition not in missing.partitions]
        if whole:
            yield from restore(self._cluster, self._queue, whole, lambda: self._is_pointless(whole))

    def _is_pointless(self, waiting: Collection[Assignment]) -> bool:
        return self._stopping.is_set() or not any(assignment.is_active for assignment in waiting)


class _ObstacleLog:
    """Logs what partitions wait for: once it lasts, then rarely, and once more when it is over."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._log_pace = LogPace(first_at_s=time.monotonic() + LOUD_AFTER_S)
        self.was_logged = False

    def note(self, obstacle: Unrestorable | CounterpartsMissing) -> None:
        """Take what stands in the way at this moment."""
        if self._log_pace.try_acquire(time.monotonic()):
            self.was_logged = True
            _LOGGER.error("%s", obstacle, extra={log_keys.QUEUE: self._queue})

    def end(self) -> None:
        """Note that nothing does any more."""
        if self.was_logged:
            _LOGGER.warning(
                "queue %r: its partitions could be restored, and their jobs start", self._queue,
                extra={log_keys.QUEUE: self._queue},
            )  # fmt: skip
