"""`Grace`: lets the running jobs of partitions that go away end first, so that no job runs a second time."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..in_flight.completion import Completion
from ..in_flight.settled import SettledBatches
from ..poll_thread_state import PollThreadState
from ..progress.assignment import Assignment


class Grace:
    """Owned by the poll thread, which waits in it."""

    def __init__(
        self, poll_state: PollThreadState, completion: Completion, settled: SettledBatches, *, within_s: float
    ) -> None:
        self._poll_state = poll_state
        self._completion = completion
        self._settled = settled
        self._within_s = within_s

    def wait_ended(self, leaving: Collection[Assignment]) -> None:
        """Wait until the running jobs of these have ended and are settled, or the time for that is over."""
        give_up_at_s = time.monotonic() + self._within_s
        self._completion.note_settled()
        while any(a.unsettled for a in leaving) and time.monotonic() < give_up_at_s:
            if self._poll_state.is_out_of_time:
                return
            self._poll_state.note_turn()
            self._settled.wait()
            self._completion.note_settled()
