"""The operator process (`python -m chaos.fleet.operating '<json of Duty>'`): orders all through a run, and their notes.

It may be killed at any moment, also amid a transaction. Started again, it lifts what its forerunner has left. At the
end it lifts everything.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from chaos.fleet.holds import HOLDS, PARTS_OF_RUN, Hold, hold_of_worker
from chaos.notes import NoteFile, Tally
from chaos.plan import CANCELLED, FILTERED, RESCHEDULED, JobPlans, is_to_be_cancelled, job_id_of
from stoker.producers.control import Control, ControlError, OrderReceipt
from stoker.producers.control.answers import Answers
from stoker.producers.control.standing import read_standing_orders
from stoker.topology import ClusterSettings, ClusterUnreachable
from stoker.topology.wire.orders import Verb

ANSWERED_WITHIN: Final = timedelta(seconds=2)
HOLD_S: Final = (0.5, 2.5)
REST_S: Final = (1.0, 4.0)
STOPS_IN: Final = 12
"""One time in so many, a worker is ordered to stop."""
UNTIL_RATIO: Final = 0.85
CANCELS: Final = ((0.0, 0.5), (0.25, 1.0))
"""(share of the jobs completed at which it is ordered, share of the numbers up to which it goes): most before they
are enqueued."""
BEYOND_RATIO: Final = 0.5
FILTER_SHARES: Final = (0.2, 0.45, 0.7)
AT_A_TIME: Final = 4
"""Jobs that are rescheduled between two other orders."""
SOON: Final = timedelta(seconds=3)
FAILURES: Final = (ControlError, ClusterUnreachable)

Give = Callable[[], OrderReceipt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What the operator does: `jobs` of the plan of this seed."""

    folder: str
    servers: str
    seed: int
    jobs: int

    def to_json(self) -> str:
        """The argument of the process."""
        return json.dumps(asdict(self))


class Operator:
    """Gives one order after the other; what fails for want of brokers is given again later, or not at all."""

    def __init__(self, duty: Duty) -> None:
        from chaos.fleet.app import pipeline

        self._duty, self._pipeline = duty, pipeline
        self._cluster = ClusterSettings(bootstrap_servers=duty.servers)
        self._control = Control(pipeline, self._cluster, operator="chaos")
        self._notes = NoteFile(Path(duty.folder), "orders")
        self._ends = Tally(Path(duty.folder), "runs", b"E ")
        self._confirmed = Tally(Path(duty.folder), "confirmed", b"C ")
        self._random = random.Random(f"orders of {duty.seed} {os.getpid()}")
        self._numbers = count()
        self._workers: list[str] = []
        self._standing: dict[Hold, str] = {}
        self._over: set[Hold] = set()
        self._cancels = list(_cancels(duty))
        self._filters = list(FILTER_SHARES)
        plans = JobPlans(duty.seed)
        self._far = [number for number in range(duty.jobs) if plans.of(number).kind == RESCHEDULED]

    def run(self) -> None:
        """Order until most jobs are completed, and all that are to be rescheduled are."""
        self._lift_all()
        acts = (self._cancel, self._cancel_by_filter, self._hold_parts, self._reschedule, self._stop_one, self._hold)
        while (share := self._share()) < UNTIL_RATIO:
            for act in acts:
                _try(partial(act, share))
            time.sleep(self._random.uniform(*REST_S))
        self._lift_all()
        insist(partial(self._cancel, 1.0), FAILURES)
        while self._far:
            _try(partial(self._reschedule, 1.0))
            time.sleep(REST_S[0])
        self._control.close()

    def _share(self) -> float:
        return self._ends.look() / self._duty.jobs

    # ---- orders about single jobs

    def _cancel(self, share: float) -> None:
        """Cancel the jobs that are to be cancelled; an operator that starts again does so as well."""
        while self._cancels and share >= self._cancels[0][0]:
            _, target, numbers = self._cancels[0]
            if numbers:
                ids = [job_id_of(number) for number in numbers]
                self._order(self._next_id(), f"cancel {target}", partial(self._control.cancel, *ids))
            self._cancels.pop(0)

    def _cancel_by_filter(self, share: float) -> None:
        """Cancel all jobs of a type that are enqueued by now."""
        while self._filters and share >= self._filters[0]:
            order_id = self._next_id()
            self._notes.append(f"G {order_id} cancel filter -")
            receipt = self._control.cancel(job_type=FILTERED, reason="a test")
            before = receipt.order.before or receipt.order.at
            self._note_answers(order_id, f"cancel {FILTERED}={before.timestamp()}", receipt)
            self._filters.pop(0)

    def _reschedule(self, _share: float) -> None:
        """Let jobs that are due after the run start now or soon, once they are enqueued."""
        self._ends.look()
        self._confirmed.look()
        self._far = [number for number in self._far if number not in self._ends.numbers]
        for number in [number for number in self._far if number in self._confirmed.numbers][:AT_A_TIME]:
            self._notes.append(f"G {self._next_id()} reschedule job={number} -")
            if number % 2:
                self._control.reschedule(job_id_of(number), now=True)
            else:
                self._control.reschedule(job_id_of(number), at=datetime.now(UTC) + SOON)
            self._far.remove(number)

    # ---- orders that hold jobs back

    def _hold_parts(self, share: float) -> None:
        """Begin and end what holds for a part of the run."""
        for hold, (begin, end) in PARTS_OF_RUN.items():
            if hold not in self._standing and begin <= share < end:
                self._standing[hold] = self._next_id()
                self._order(self._standing[hold], hold.name, partial(hold.give, self._control))
            elif hold in self._standing and hold not in self._over and share >= end:
                self._lift(self._standing[hold], partial(hold.lift, self._control))
                self._over.add(hold)

    def _hold(self, _share: float) -> None:
        """Hold some jobs back for a moment."""
        hold, order_id = self._chosen(), self._next_id()
        try:
            self._order(order_id, hold.name, partial(hold.give, self._control))
            time.sleep(self._random.uniform(*HOLD_S))
        finally:
            self._lift(order_id, partial(hold.lift, self._control))

    def _chosen(self) -> Hold:
        make = self._random.choice([*HOLDS, *([hold_of_worker(self._workers)] if self._workers else [])])
        return make(self._random)

    def _stop_one(self, _share: float) -> None:
        """Stop a worker, which its supervisor starts again."""
        if self._workers and self._random.randrange(STOPS_IN) == 0:
            worker = self._random.choice(self._workers)
            self._notes.append(f"K {self._next_id()} stop worker={worker} -")
            self._control.worker_stop(worker=worker)

    # ---- parts of these

    def _next_id(self) -> str:
        return f"{os.getpid()}.{next(self._numbers)}"

    def _order(self, order_id: str, target: str, give: Give) -> None:
        """Give an order, and note who has not answered it in time: all others hold to it."""
        self._notes.append(f"G {order_id} {target} -")
        self._note_answers(order_id, target, give())

    def _note_answers(self, order_id: str, target: str, receipt: OrderReceipt) -> None:
        answers = receipt.wait(ANSWERED_WITHIN)
        self._workers = sorted(answer.worker for answer in answers.taken)
        self._notes.append(f"A {order_id} {target} {_pids(answers)}")

    def _lift(self, order_id: str, lift: Give) -> None:
        """Lift an order, however long that takes."""
        self._notes.append(f"L {order_id} - - -")
        insist(lift, FAILURES)

    def _lift_all(self) -> None:
        """Lift all that stands, whoever has ordered it."""
        self._notes.append("L all - - -")
        insist(self._lift_standing, FAILURES)

    def _lift_standing(self) -> None:
        verbs = (Verb.PAUSE, Verb.BLOCK, Verb.QUIET)
        lifted_by = {Verb.PAUSE: Verb.RESUME, Verb.BLOCK: Verb.UNBLOCK, Verb.QUIET: Verb.WORK}
        for order in read_standing_orders(self._pipeline, self._cluster, verbs):
            lifting = self._control.order(lifted_by[Verb(order.verb)])
            fields = ("queue", "job_type", "key", "tenant", "partition", "worker", "worker_host")
            self._control.give(replace(lifting, **{name: getattr(order, name) for name in fields}))


def _cancels(duty: Duty) -> Iterator[tuple[float, str, list[int]]]:
    """(share of the jobs completed at which it is ordered, what the notes call it, the numbers of the jobs)."""
    plans = [JobPlans(duty.seed).of(number) for number in range(duty.jobs)]
    for begin, share in CANCELS:
        end = int(share * duty.jobs)
        yield begin, f"below={end}", [plan.number for plan in plans[:end] if plan.kind == CANCELLED]
    yield BEYOND_RATIO, f"beyond={duty.jobs}", [plan.number for plan in plans if is_to_be_cancelled(plan)]


def _pids(answers: Answers) -> str:
    missing: Sequence[str] = [answer.worker.rpartition("-")[2] for answer in answers.missing]
    return ",".join(missing) or "none"


def _try(act: Callable[[], None]) -> None:
    try:
        act()
    except FAILURES as error:
        print(f"not ordered: {error}", file=sys.stderr, flush=True)


def insist(act: Callable[[], object], failures: tuple[type[Exception], ...]) -> None:
    """Do it again until it is done."""
    while True:
        try:
            act()
        except failures as error:
            print(f"again: {error}", file=sys.stderr, flush=True)
            time.sleep(0.5)
        else:
            return


if __name__ == "__main__":
    given = Duty(**json.loads(sys.argv[1]))
    os.environ["CHAOS_FOLDER"] = given.folder
    Operator(given).run()
