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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from chaos.notes import NoteFile, Tally
from chaos.plan import CANCELLED, JobPlans, job_id_of
from stoker.producers.control import Control, ControlError, OrderReceipt
from stoker.producers.control.answers import Answers
from stoker.producers.control.standing import read_standing_orders
from stoker.topology import ClusterSettings, ClusterUnreachable
from stoker.topology.wire.orders import Verb

ANSWERED_WITHIN: Final = timedelta(seconds=2)
HOLD_S: Final = (0.5, 2.5)
REST_S: Final = (1.0, 4.0)
LONG: Final = "effect"
"""The job type that is paused all through a part of the run."""
LONG_SHARE: Final = (0.1, 0.5)
"""Of the jobs completed, when that begins and ends."""
UNTIL_SHARE: Final = 0.85
CANCELS: Final = ((0.0, 0.5), (0.25, 1.0))
"""(share of the jobs completed at which it is ordered, share of the numbers up to which it goes): most before they
are enqueued."""

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
        self._random = random.Random(f"orders of {duty.seed} {os.getpid()}")
        self._numbers = count()
        self._workers: list[str] = []
        self._long_id = ""
        self._is_long_over = False
        self._cancelled = 0

    def run(self) -> None:
        """Order until most jobs are completed."""
        self._lift_all()
        while (share := self._share()) < UNTIL_SHARE:
            for act in (self._cancel, self._hold_long, self._hold):
                try:
                    act(share)
                except (ControlError, ClusterUnreachable) as error:
                    print(f"not ordered: {error}", file=sys.stderr, flush=True)
            time.sleep(self._random.uniform(*REST_S))
        self._lift_all()
        self._control.close()

    def _share(self) -> float:
        return self._ends.look() / self._duty.jobs

    def _cancel(self, share: float) -> None:
        """Cancel the jobs that are to be cancelled, in two parts; an operator that starts again does so as well."""
        while self._cancelled < len(CANCELS) and share >= CANCELS[self._cancelled][0]:
            end = int(CANCELS[self._cancelled][1] * self._duty.jobs)
            plans = JobPlans(self._duty.seed)
            numbers = [number for number in range(end) if plans.of(number).kind == CANCELLED]
            if numbers:
                ids = [job_id_of(number) for number in numbers]
                self._order(self._next_id(), f"cancel below={end}", partial(self._control.cancel, *ids))
            self._cancelled += 1

    def _hold_long(self, share: float) -> None:
        begin, end = LONG_SHARE
        if not self._long_id and begin <= share < end:
            self._long_id = self._next_id()
            self._order(self._long_id, f"pause type={LONG}", lambda: self._control.pause(job_type=LONG))
        elif self._long_id and not self._is_long_over and share >= end:
            self._lift(self._long_id, lambda: self._control.resume(job_type=LONG))
            self._is_long_over = True

    def _hold(self, _share: float) -> None:
        """Hold some jobs back for a moment."""
        target, give, lift = self._chosen()
        order_id = self._next_id()
        try:
            self._order(order_id, target, give)
            time.sleep(self._random.uniform(*HOLD_S))
        finally:
            self._lift(order_id, lift)

    def _chosen(self) -> tuple[str, Give, Give]:
        control, chance = self._control, self._random
        key, number = f"steady-{chance.randrange(50)}", chance.randrange(8)
        kinds: list[tuple[str, Give, Give]] = [
            (
                "pause type=light_async",
                lambda: control.pause(job_type="light_async"),
                lambda: control.resume(job_type="light_async"),
            ),
            (
                "block type=strict",
                lambda: control.block(job_type="strict", reason="a test"),
                lambda: control.unblock(job_type="strict"),
            ),
            ("pause queue=strict", lambda: control.pause(queue="strict"), lambda: control.resume(queue="strict")),
            (
                f"pause key=steady:{key}",
                lambda: control.pause(queue="steady", key=key),
                lambda: control.resume(queue="steady", key=key),
            ),
            (
                f"pause partition=steady:{number}",
                lambda: control.pause(queue="steady", partition=number),
                lambda: control.resume(queue="steady", partition=number),
            ),
            ("quiet all", control.worker_quiet, control.worker_work),
        ]
        if self._workers:
            worker = chance.choice(self._workers)
            kinds.append(
                (
                    f"quiet worker={worker}",
                    lambda: control.worker_quiet(worker=worker),
                    lambda: control.worker_work(worker=worker),
                )
            )
        return chance.choice(kinds)

    def _next_id(self) -> str:
        return f"{os.getpid()}.{next(self._numbers)}"

    def _order(self, order_id: str, target: str, give: Give) -> None:
        """Give an order, and note who has not answered it in time: all others hold to it."""
        answers = give().wait(ANSWERED_WITHIN)
        self._workers = sorted(answer.worker for answer in answers.taken)
        self._notes.append(f"A {order_id} {target} {_pids(answers)}")

    def _lift(self, order_id: str, lift: Give) -> None:
        """Lift an order, however long that takes."""
        self._notes.append(f"L {order_id} - - -")
        _insist(lift)

    def _lift_all(self) -> None:
        """Lift all that stands, whoever has ordered it."""
        self._notes.append("L all - - -")
        _insist(self._lift_standing)

    def _lift_standing(self) -> None:
        verbs = (Verb.PAUSE, Verb.BLOCK, Verb.QUIET)
        lifted_by = {Verb.PAUSE: Verb.RESUME, Verb.BLOCK: Verb.UNBLOCK, Verb.QUIET: Verb.WORK}
        for order in read_standing_orders(self._pipeline, self._cluster, verbs):
            lifting = self._control.order(lifted_by[Verb(order.verb)])
            fields = ("queue", "job_type", "key", "tenant", "partition", "worker", "worker_host")
            self._control.give(replace(lifting, **{name: getattr(order, name) for name in fields}))


def _pids(answers: Answers) -> str:
    missing: Sequence[str] = [answer.worker.rpartition("-")[2] for answer in answers.missing]
    return ",".join(missing) or "none"


def _insist(act: Callable[[], object]) -> None:
    while True:
        try:
            act()
        except (ControlError, ClusterUnreachable) as error:
            print(f"again: {error}", file=sys.stderr, flush=True)
            time.sleep(0.5)
        else:
            return


if __name__ == "__main__":
    given = Duty(**json.loads(sys.argv[1]))
    os.environ["CHAOS_FOLDER"] = given.folder
    Operator(given).run()
