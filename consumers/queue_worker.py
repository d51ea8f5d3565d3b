"""`QueueWorker`: the poll thread of one queue. It owns the consumer and all progress, and never runs a job's code.

Each turn: take what was settled and commit it, do what is done once a second, take delayed records that are due, and
fetch while there is room. Polling goes on whatever the jobs do, so that long ones keep their partitions.
"""

from __future__ import annotations

import threading
from typing import Final

from .errors import WorkerCrashed
from .poll_loop.fetching import Fetching
from .poll_loop.housekeeping import Housekeeping
from .poll_loop.owned_partitions import OwnedPartitions
from .poll_loop.shutdown import Shutdown
from .poll_loop.worker_threads import WorkerThreads
from .poll_thread_state import PollThreadState

WAIT_TURN_S: Final = 0.1
"""How often a poll thread turns that waits until jobs may begin."""


class QueueWorker:
    """Runs the jobs of one queue in this process, until `stop` is called.

    Attributes:
        queue: its name.
        poll_state: how its thread turns.
    """

    def __init__(
        self,
        queue: str,
        poll_state: PollThreadState,
        *,
        partitions: OwnedPartitions,
        housekeeping: Housekeeping,
        fetching: Fetching,
        threads: WorkerThreads,
        shutdown: Shutdown,
    ) -> None:
        self.queue = queue
        self.poll_state = poll_state
        self._partitions = partitions
        self._housekeeping = housekeeping
        self._fetching = fetching
        self._threads = threads
        self._shutdown = shutdown

    def run(self, may_begin: threading.Event) -> None:
        """Work until `stop` is called, once jobs may begin; then shut down gracefully.

        Raises:
            WorkerCrashed: a part of the worker failed; nothing is lost, but this process cannot go on.
        """
        try:
            self._work(may_begin)
        finally:  # also where no thread can be started
            self.poll_state.end()

    def _work(self, may_begin: threading.Event) -> None:
        self.poll_state.begin()
        self._threads.start()
        try:
            while not (self.poll_state.is_stopping.is_set() or may_begin.wait(WAIT_TURN_S)):
                self.poll_state.note_turn()
            if not self.poll_state.is_stopping.is_set():
                self._partitions.join()
            while not self.poll_state.is_stopping.is_set():
                self._turn()
        finally:
            self._shutdown.run()

    def stop(self) -> None:
        """Begin the graceful shutdown; called from any thread."""
        self._shutdown.ask()

    def stop_now(self) -> None:
        """Shut down without waiting for running jobs; they will be delivered again. Called from any thread."""
        self._shutdown.ask_now()

    def _turn(self) -> None:
        self.poll_state.note_turn()
        self._check_threads()
        self._partitions.turn(self.poll_state.last_turn_at_s)
        self._housekeeping.turn()
        self._fetching.turn()

    def _check_threads(self) -> None:
        cause = self._threads.crashed
        if cause is not None:
            raise WorkerCrashed(self.queue) from cause
