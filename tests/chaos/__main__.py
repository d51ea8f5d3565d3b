"""`make chaos`: a fleet under load and under fire, and the proof of what it kept; exit code 0 if it kept all."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from chaos.cluster.topics import Reader
from chaos.faults import Stage, strike
from chaos.fleet.logs import warnings_of
from chaos.judging.account import (
    Finding,
    Strike,
    is_settled_by_run,
    load_plans,
    may_end_cancelled,
    write_strikes,
)
from chaos.judging.checks import expected_reason
from chaos.judging.found import Found, look
from chaos.judging.report import lines, write_report
from chaos.judging.verdict import judge
from chaos.notes import Tally, read_ticks
from chaos.plan import FAULT_WEIGHTS, Fault, JobPlan, Plan, make_plan
from chaos.sharing.ledger import read_shared, wait_ended
from chaos.sharing.streams import USUAL, Sizes
from chaos.stage import Wishes, set_stage
from chaos.timetable import ALONE, EVERY_S

LOOK_S: Final = 0.5
SAY_S: Final = 10.0
STANDSTILL_S: Final = 90.0
"""Without a new completed job for so long, and no fault at work, the run gives up; what is missing is a finding."""
QUIET_S: Final = 30.0
ENDING_S: Final = 75.0
"""Longer than any delay of a job that may be cancelled."""
TOP_WARNINGS: Final = 15


class Show:
    """Runs the plan's faults on a stage and waits for the end of its jobs."""

    def __init__(self, plan: Plan, plans: dict[int, JobPlan], stage: Stage) -> None:
        self._plan, self._stage = plan, stage
        self._wanted = frozenset(job.number for job in plans.values() if is_settled_by_run(job))
        self._cancellable = frozenset(job.number for job in plans.values() if may_end_cancelled(job))
        self._wanted_dead = sum(expected_reason(job) is not None for job in plans.values())
        self._ends = Tally(stage.folder, "runs", b"E ")
        self._reader = Reader(stage.nodes.direct)
        self._began_at_s = time.monotonic()
        self._threads: list[threading.Thread] = []
        self.strikes: list[Strike] = []
        self.failed: list[Finding] = []

    def run(self) -> None:
        """Strike when it is time, until all is done."""
        waiting, seen, moved_s, said_s = deque(self._plan.faults), 0, time.monotonic(), 0.0
        while not self._is_over(seen):
            now_s, count = time.monotonic(), self._ends.look()
            if count > seen or self._is_striking():
                seen, moved_s = max(seen, count), now_s
            if now_s - moved_s > STANDSTILL_S:
                self._give_up()
                return
            while waiting and waiting[0].after <= seen:
                self._start(waiting.popleft())
            if now_s - said_s > SAY_S:
                said_s = now_s
                self._say(seen)
            time.sleep(LOOK_S)

    def _give_up(self) -> None:
        """End those that enqueue until most jobs are completed, which will not be."""
        say(f"no job was completed for {STANDSTILL_S:g} s: giving up")
        for process in (*self._stage.producers, *self._stage.operators):
            process.close()

    def _is_over(self, seen: int) -> bool:
        if (
            seen < len(self._wanted)
            or not self._wanted <= self._ends.numbers
            or self._is_striking()
            or not all(p.is_finished() for p in self._stage.producers)
        ):
            return False
        return self._dead_count() >= self._wanted_dead

    def _dead_count(self) -> int:
        return sum(self._reader.count(queue.dead_topic, queue.partitions) or 0 for queue in self._stage.queues)

    def _start(self, fault: Fault) -> None:
        thread = threading.Thread(target=self._strike, args=(fault,), name=fault.kind)
        self._threads.append(thread)
        thread.start()

    def _strike(self, fault: Fault) -> None:
        try:
            done = strike(fault, self._stage)
        except Exception as error:  # noqa: BLE001  # told at the end: hours of a run are not thrown away for it
            self.failed.append(Finding("harness", f"{fault.kind} could not be done: {error!r}"))
            return
        self.strikes.append(done)
        write_strikes(self._stage.folder / "faults", [done])
        at_s, lasted_s = done.begin_s - self._began_at_s, done.end_s - done.begin_s
        say(f"{at_s:7.1f} s  {done.kind} ({lasted_s:.1f} s) {done.detail} {done.pids or ''}")

    def _is_striking(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _say(self, seen: int) -> None:
        took_s = time.monotonic() - self._began_at_s
        say(f"{took_s:7.1f} s  {seen:,} of {len(self._wanted):,} completed, {len(self.strikes)} faults")

    def wait_quiet(self) -> float:
        """Let what is still on its way come to its end: cancelled jobs, retries' twins, the jobs of schedules.

        Records of unknown types never do. Gives the instant up to which schedules were waited for.
        """
        _wait_until(self._has_ended_all, ENDING_S)
        wait_ended(self._stage.folder, STANDSTILL_S, LOOK_S)
        queues = [queue for queue in self._stage.queues if queue is not self._stage.clock]
        _wait_until(lambda: all(self._reader.uncommitted(queue) == 0 for queue in queues), QUIET_S)
        until_at_s = time.time()
        _wait_until(lambda: self._has_fired(until_at_s), ENDING_S)
        return until_at_s

    def _has_ended_all(self) -> bool:
        """Whether all jobs that orders may cancel have run or are cancelled."""
        self._ends.look()
        open_ = self._cancellable - self._ends.numbers
        return not open_ or not open_ - {
            number for queue in self._stage.queues for number in self._reader.cancelled(queue)
        }

    def _has_fired(self, until_at_s: float) -> bool:
        """Whether schedules have fired beyond an instant, and their jobs up to it have ended."""
        fired, ticks = self._reader.fired(self._stage.clock), read_ticks(self._stage.folder)
        last_s = {name: 0.0 for name in EVERY_S if name != ALONE}
        for one in fired:
            if one.schedule in last_s:
                last_s[one.schedule] = max(last_s[one.schedule], one.for_s)
        ended = {job_id for job_id, tick in ticks.items() if tick.ended_at_s is not None}
        return min(last_s.values()) > until_at_s and all(
            one.job_id in ended for one in fired if one.for_s <= until_at_s
        )


def main(arguments: Sequence[str]) -> int:
    """Run, judge, report."""
    given = _parse(arguments)
    if given.judge is not None:
        return _judge(given.judge.absolute())
    wishes, folder = _wishes(given)
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_plan(wishes.seed, wishes.jobs, wishes.faults, wishes.kinds or tuple(FAULT_WEIGHTS))
    began_at_s = time.monotonic()
    say(f"seed {wishes.seed}: {wishes.jobs:,} jobs, {wishes.faults} faults, {wishes.nodes} node(s), in {folder}")
    with set_stage(wishes, folder) as stage:
        show = Show(plan, load_plans(wishes.seed, wishes.jobs), stage)
        show.run()
        until_at_s = show.wait_quiet()
        for fleet in stage.fleets:
            fleet.close()
        took_s = time.monotonic() - began_at_s
        look(stage, wishes, show.strikes, show.failed, until_at_s=until_at_s, took_s=took_s).save(folder)
    return _judge(folder)


def _judge(folder: Path) -> int:
    """Judge what a run has left in its folder."""
    found = Found.load(folder)
    account = found.account(folder)
    verdict = judge(account, read_shared(folder, account.strikes, found.wishes.limits))
    verdict = replace(verdict, findings=[*verdict.findings, *found.failed])
    report = write_report(folder, found.wishes, verdict, found.strikes, found.took_s)
    print("\n".join(lines(found.wishes, verdict, found.strikes, found.took_s)))
    for said, count in warnings_of(folder).most_common(TOP_WARNINGS):
        say(f"{count:6} x {said}")
    say(f"the report is {report}; everything else of the run is beside it")
    return 1 if verdict.findings else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=2013)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3)
    parser.add_argument(
        "--processes",
        type=int,
        default=2,
        help="worker processes in each of the two fleets; one alone runs without a supervisor",
    )
    parser.add_argument("--per-s", type=float, default=900.0, help="jobs enqueued a second")
    parser.add_argument("--kinds", nargs="*", default=[], choices=tuple(FAULT_WEIGHTS), help="only these faults")
    parser.add_argument(
        "--no-shares", action="store_true", help="without queues that have limits, priorities, tenants or a bound"
    )
    parser.add_argument(
        "--limits",
        type=int,
        nargs=3,
        metavar=("FLEET", "TENANT", "KEY"),
        default=[USUAL.fleet_rate, USUAL.tenant_rate, USUAL.key_bound],
        help="jobs a second of all fleets together and of each tenant, and jobs of a key at once",
    )
    parser.add_argument("--folder", type=Path, help="where notes, logs and the report go; emptied first")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="judge a former run again, and run nothing")
    return parser.parse_args(arguments)


def _wishes(given: argparse.Namespace) -> tuple[Wishes, Path]:
    if given.folder is not None:
        shutil.rmtree(given.folder, ignore_errors=True)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="stoker-chaos-"))
    wishes = Wishes(
        seed=given.seed,
        jobs=given.jobs,
        faults=given.faults,
        nodes=given.nodes,
        processes=given.processes,
        per_s=given.per_s,
        kinds=tuple(given.kinds),
        shares=not given.no_shares,
        limits=Sizes(*given.limits),
    )
    return wishes, folder.absolute()


def _wait_until(is_so: Callable[[], bool], timeout_s: float) -> None:
    give_up_at_s = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at_s and not is_so():
        time.sleep(LOOK_S)


def say(text: str) -> None:
    """Progress, for the terminal."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
