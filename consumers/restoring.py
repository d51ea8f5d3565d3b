"""`Restoring`: reads what new assignments need, in a thread of its own, while their partitions rest."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from ..topology import ClusterSettings, Queue
from . import log_keys
from .record import Assignment
from .restore import Restored, restore
from .tails import Unrestorable

_LOGGER = logging.getLogger("stoker.ledger")

RETRY_PAUSE_S: Final = 0.25
LOUD_AFTER_S: Final = 5.0
TELL_AGAIN_S: Final = 15.0


class Restoring:
    """Restores assignments of one queue, those that come together in one go."""

    def __init__(
        self,
        queue: Queue,
        cluster: ClusterSettings,
        on_restored: Callable[[Restored], None],
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._cluster = cluster
        self._on_restored = on_restored
        self._on_trouble = on_trouble
        self._told_s = -math.inf
        self._stopping = threading.Event()
        self.crashed: BaseException | None = None

    def begin(self, added: Collection[Assignment]) -> None:
        """Restore these; `on_restored` is called by another thread."""
        threading.Thread(
            target=self._restore_until_done, args=(added,), name=f"stoker-restore-{self._queue.name}", daemon=True
        ).start()

    def stop(self) -> None:
        """Begin nothing more, and give up what is under way."""
        self._stopping.set()

    def _restore_until_done(self, added: Collection[Assignment]) -> None:
        try:
            self._try_to_restore(added)
        except BaseException as error:  # partitions that rest for ever would look like an idle queue: the worker stops
            self.crashed = error
            raise

    def _tell(self, error: Unrestorable) -> None:
        self._on_trouble()
        if time.monotonic() - self._told_s >= TELL_AGAIN_S:
            self._told_s = time.monotonic()
            _LOGGER.error("%s", error, extra={log_keys.QUEUE: self._queue.name})

    def _try_to_restore(self, added: Collection[Assignment]) -> None:
        def is_pointless() -> bool:
            return self._stopping.is_set() or not any(assignment.is_active for assignment in added)

        began_s = time.monotonic()
        while not is_pointless():
            try:
                self._on_restored(restore(self._cluster, self._queue, added, is_pointless))
            except Unrestorable as error:
                is_lasting = time.monotonic() - began_s > LOUD_AFTER_S  # a leader that moves is back in a moment
                if is_lasting and not is_pointless():
                    self._tell(error)
                self._stopping.wait(RETRY_PAUSE_S)
            else:
                return
