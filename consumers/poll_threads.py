"""`PollThreads`: the threads of a worker's queues, one each, from their start to their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from .errors import PollThreadHangs
from .guarded_thread import GuardedThread
from .poll_loop.poll_thread_watch import PollThreadWatch
from .queue_worker import QueueWorker


class PollThreads:
    """Started by one thread and watched by another one; any may call `stop`, `stop_now` and `are_alive`.

    Args:
        workers: those of the queues.
        grace: how long running jobs may take to end.
        on_failure: takes the name of a queue, and the error that has ended its thread.
    """

    def __init__(
        self, workers: Sequence[QueueWorker], grace: timedelta, on_failure: Callable[[str, BaseException], None]
    ) -> None:
        self._workers = workers
        self._watches = [PollThreadWatch(worker.queue, worker.poll_state, grace) for worker in workers]
        self._on_failure = on_failure
        self._threads: list[GuardedThread] = []
        self._hanging: set[str] = set()

    def start(self, may_begin: threading.Event) -> None:
        """Start them; jobs start once `may_begin` is set. One that hangs does not keep the process from ending."""
        for worker in self._workers:
            run, on_crash = partial(worker.run, may_begin), partial(self._on_failure, worker.queue)
            thread = GuardedThread(_thread_name(worker), run, on_crash)
            self._threads.append(thread)
            thread.start()

    @property
    def are_started(self) -> bool:
        """Whether `start` was called."""
        return bool(self._threads)

    @property
    def are_alive(self) -> bool:
        """Whether any of them runs."""
        return any(thread.is_alive for thread in self._threads)

    @property
    def are_awaited(self) -> bool:
        """Whether any of them runs that does not hang for good: it has the time of the stop, whatever others do."""
        threads = zip(self._workers, self._threads, strict=False)
        return any(thread.is_alive and worker.queue not in self._hanging for worker, thread in threads)

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

    def find_hang(self) -> PollThreadHangs | None:
        """A thread that hangs for good, found once; those that hang are logged, lest a queue stand still unnoticed."""
        now_s = time.monotonic()
        for worker, watch in zip(self._workers, self._watches, strict=True):
            how = None if worker.queue in self._hanging else watch.find_hang(now_s)
            if how is not None:
                self._hanging.add(worker.queue)
                return PollThreadHangs(worker.queue, _thread_name(worker), how=how, stack=watch.stack())
        return None


def _thread_name(worker: QueueWorker) -> str:
    return f"stoker-poll-{worker.queue}"
