"""`PollThreads`: the threads of a worker's queues, one each, from their start to their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from .guarded_thread import GuardedThread
from .inspection.view import QueueView
from .poll_loop.poll_thread_watch import PollThreadWatch
from .queue_worker import QueueWorker


class PollThreads:
    """Owned by the thread that runs the worker, but for `stop`, `stop_now` and `are_alive`, which any may call.

    Args:
        workers, views: those of the queues, in one order.
        on_failure: takes the name of a queue, and the error that has ended its thread.
    """

    def __init__(
        self,
        workers: Sequence[QueueWorker],
        views: Sequence[QueueView],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._workers, self._views = workers, views
        self._watches = [PollThreadWatch(view.queue) for view in views]
        self._on_failure = on_failure
        self._threads: list[GuardedThread] = []

    def start(self, may_begin: threading.Event, *, daemon: bool) -> None:
        """Start them; jobs start once `may_begin` is set."""
        for worker in self._workers:
            name, run, on_crash = f"stoker-poll-{worker.queue}", worker.run, partial(self._on_failure, worker.queue)
            thread = GuardedThread(name, partial(run, may_begin), on_crash)
            self._threads.append(thread)
            thread.start(daemon=daemon)

    @property
    def are_started(self) -> bool:
        """Whether `start` was called."""
        return bool(self._threads)

    @property
    def are_alive(self) -> bool:
        """Whether any of them runs."""
        return any(thread.is_alive for thread in self._threads)

    def join(self, timeout_s: float) -> None:
        """Wait for their ends, for so long at the most."""
        for thread in self._threads:
            thread.join(timeout_s / len(self._threads))

    def stop(self) -> None:
        """Have each shut down gracefully."""
        for worker in self._workers:
            worker.stop()

    def stop_now(self) -> None:
        """Have each shut down without waiting for running jobs."""
        for worker in self._workers:
            worker.stop_now()

    def find_lost(self) -> str | None:
        """The queue of a thread that hangs for good; those that hang are logged, lest a queue stand still unnoticed."""
        now_s = time.monotonic()
        for view, thread, watch in zip(self._views, self._threads, self._watches, strict=True):
            if watch.is_lost(view.last_turn_at_s, thread.ident, now_s):
                return view.queue
        return None
