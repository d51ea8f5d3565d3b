"""The threads by which jobs run stop in such an order that nothing is given away that a job still uses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from stoker.consumers.dispatch.job_threads import JobThreads
from stoker.consumers.dispatch.pipe_failure import PipeFailure
from stoker.consumers.gates.gate import START, Gate, PlainWhy, Start, Wait
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from support.scenes.deliveries import plain_record
from support.scenes.watched_runners import Order, Shift, resist, threads
from support.waiting import wait_until

STUCK, OBEDIENT = 0, 1


class Unused:
    """Stands for the pipe, and for the thread of schemas."""

    is_stopping = False

    def stop(self) -> None:
        """Nothing was started."""


@dataclass(eq=False)
class StopNoting(Gate):
    """Takes note of its stop."""

    on_stop: Callable[[], None]

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """All may."""
        return START

    def stop(self) -> None:
        """Note it."""
        self.on_stop()


def job_threads(shift: Shift, row: GateRow) -> JobThreads:
    """Those of a shift."""
    unused = cast(Any, Unused())
    return JobThreads(
        unused, row, unused, runners=shift.runners, watchdog=shift.dog, pipe=unused, failure=PipeFailure("q")
    )


def test_gates_stop_when_interrupted_jobs_have_ended_and_hold_nothing_before() -> None:
    """A gate counts runs until it stops, and returns then what no job uses; what came to wait now would be lost."""
    let_go, began = threading.Event(), list[int]()
    ended_before_gates: list[int] = []
    held: list[bool] = []
    with threads(2) as shift:
        row = GateRow([StopNoting(lambda: ended_before_gates.extend(number for number, _ in shift.ended))])

        def stay(number: int) -> None:
            began.append(number)
            resist(let_go)

        def end_when_told(number: int) -> None:
            try:
                began.append(number)
                while True:
                    let_go.wait(0.01)
            finally:
                record = plain_record(9, None, Assignment(1, "q", 0))
                held.append(row.wait_set.add_sent_back(record, Wait(until_at_s=None, why=PlainWhy("odd", "the end"))))

        shift.hand_in(Order(handler=stay), Order(handler=end_when_told))
        wait_until(lambda: len(began) == 2, 60.0, "both jobs to begin")
        try:
            job_threads(shift, row).stop(within_s=10.0)
        finally:
            let_go.set()
        assert ended_before_gates == [OBEDIENT]
        assert held == [False]
        shift.wait_ended(STUCK)
