"""The gate of breakers: jobs that need an open one wait in memory, and how jobs end is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from simulation.fleets.breakers import Clock
from stoker.consumers import DependencyDown, Discard, RateLimited, Retry, Snooze, UnknownDependency, current_job
from stoker.consumers.breakers.breaker_gate import BreakerGate
from stoker.consumers.breakers.breaker_state import OFFER_S
from stoker.consumers.breakers.breakers import BreakerOpen, Breakers
from stoker.consumers.breakers.opening import Target
from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.gates.pauses import Pause, Pauses
from stoker.consumers.job.dependencies import make_dependencies
from stoker.consumers.records.outcomes import (
    DONE,
    INTERRUPTED,
    Cancelled,
    Dead,
    Failure,
    Outcome,
    Retried,
    Snoozed,
)
from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.steps.pipe import Pipe
from stoker.consumers.steps.run_step import run_sync
from stoker.consumers.steps.steps import StepContext
from stoker.topology import Breaker, Pipeline, RetryPolicy
from support.scenes.deliveries import NOW, Delivery

STRIPE = Target("dependency", "stripe")
FAILURE = Failure(error_type="OSError", message="refused", stack="", fingerprint="")
FAILED = Retried(due=NOW, tier=timedelta(seconds=1), next_attempt=2, failure=FAILURE)


class NotOurs(Exception):
    """An error of the job's own, which its policy names."""


class Scene:
    """One queue with a job type that needs `stripe`, its gates and its pipe."""

    def __init__(self, work: Any = lambda number: None, needs: Sequence[str] = ("stripe",), **options: Any) -> None:
        self.pipeline = Pipeline("unit")
        self.queue = self.pipeline.queue("q", partitions=1)
        self.pipeline.dependency("stripe", Breaker(failures=2))
        policy = RetryPolicy(attempts=3, permanent=(NotOurs,))

        def named(number: int) -> None:
            work(number)

        job_type = self.pipeline.job(self.queue, name="work", needs=needs, retry=policy, **options)(named)
        self.delivery = Delivery(pipeline=self.pipeline, queue=self.queue, work=job_type)
        self.clock = Clock()
        self.breakers = Breakers.of_pipeline(self.pipeline, "w", self.clock)
        self.stripe = self.breakers.states[STRIPE]
        self.row, self.ready = GateRow(), list[Record]()
        self.gate = BreakerGate(self.breakers, self.row)
        self.pauses = Pauses(self.row)
        self.row.add([self.pauses, self.gate])
        self.row.start(self.ready.extend)
        self.outcomes: list[Outcome] = []
        self._offset = 0
        self.pipe = Pipe(
            self._context(),
            settle=lambda _record, outcome: self.outcomes.append(outcome),
            settle_done=lambda _records: None,
            fail=_raise,
            excuse=Excuse(self.queue),
        )

    def _context(self) -> StepContext:
        context = self.delivery.step_context
        return replace(context, gates=self.row, dependencies=make_dependencies(self.breakers))

    def record(self, key: bytes | None = None) -> Record:
        """The next record."""
        self._offset += 1
        return self.delivery.record({"ce_id": b"job-%d" % self._offset}, key=key, offset=self._offset)

    def end(self, *outcomes: Outcome) -> None:
        """Jobs begin and end so, one after the other."""
        for outcome in outcomes:
            record = self.record()
            assert self.row.begin(record) is Beginning.BEGINS
            self.row.note_ended(record, outcome)

    def run(self) -> Outcome | None:
        """Carry a record through the pipe; None where it waits at the gates."""
        before = len(self.outcomes)
        self.pipe.pass_through(self.record(), Slot(), run_sync)
        return self.outcomes[-1] if len(self.outcomes) > before else None


def _raise(_record: Record, error: BaseException) -> None:
    raise error


def test_while_a_breaker_is_open_its_jobs_wait_at_the_gate() -> None:
    """They go on when it closes; the reason has who, why and how to end it."""
    scene = Scene()
    assert scene.row.admits(scene.record())
    scene.end(FAILED, FAILED)
    first, second = scene.record(), scene.record()
    assert not scene.row.admits(first)
    assert not scene.row.admits(second)
    ((why, count),) = scene.row.view.counts().items()
    assert (why.state, count) == ("breaker", 2)
    assert why.detail["breaker"] == "dependency 'stripe'"
    assert why.detail["ends_by"] == "the breaker closes, or `stoker control close --dependency stripe`"
    assert why.detail["why"] == "worker w: 2 runs in a row have failed, the last one with OSError: refused"
    scene.stripe.note_unwritten(scene.stripe.take_write())  # type: ignore[arg-type]  # it is there
    scene.stripe.lift()
    assert scene.ready == [first, second]


@pytest.mark.parametrize(
    "outcome",
    [
        Snoozed(due=NOW, delay="second"),  # type: ignore[arg-type]  # its delay does not matter
        Cancelled(reason="discarded", detail=""),
        Cancelled(reason="cancelled", detail=""),
        INTERRUPTED,
        Dead(reason="permanent", failure=FAILURE),
        Dead(reason="quarantined", failure=FAILURE),
    ],
    ids=str,
)
def test_what_shows_nothing_of_the_dependency_counts_neither_way(outcome: Outcome) -> None:
    """Between two failures it does not begin the count anew."""
    scene = Scene()
    scene.end(FAILED, outcome)
    assert scene.stripe.phase == "closed"
    scene.end(Dead(reason="attempts-spent", failure=FAILURE))
    assert scene.stripe.phase == "open"


def test_a_job_that_needs_two_begins_with_both_or_with_none() -> None:
    """Where the second one is open, the first one's probe is left to another job."""
    scene = Scene(needs=("stripe", "bank"), breaker=Breaker())
    bank = scene.breakers.states[Target("dependency", "bank")]
    bank._open(1, scene.clock(), "by hand")
    record = scene.record()
    assert scene.row.begin(record) is Beginning.WAITS
    assert (scene.row.view.counts().popitem()[0].detail["breaker"], scene.breakers.begun) == ("dependency 'bank'", {})


def test_one_record_is_let_go_as_the_probe() -> None:
    """All others wait on; when it has ended well, they go on."""
    scene = Scene()
    scene.end(FAILED, FAILED)
    records = [scene.record() for _ in range(5)]
    assert not any(map(scene.row.admits, records))
    _confirm(scene)
    scene.clock.now_s += 11.0
    scene.breakers.turn()
    _confirm(scene)
    scene.breakers.turn()
    assert scene.ready == records[:1]
    assert scene.row.begin(records[0]) is Beginning.BEGINS
    assert scene.row.begin(records[0]) is Beginning.BEGINS  # as after a child that did not begin
    assert not scene.row.admits(scene.record())
    scene.row.note_ended(records[0], DONE)
    assert len(scene.ready) == 6
    assert scene.stripe.phase == "closed"


def test_a_job_that_is_paused_as_well_is_not_the_probe() -> None:
    """Nor one of many: the first job that may begin is, at once, and the paused ones wait for their pause."""
    scene, pause = Scene(), Pause("q", key=b"paused")
    scene.row.start(lambda records: scene.ready.extend(scene.row.admit(records)))
    scene.end(FAILED, FAILED)
    records = [scene.record(b"paused") for _ in range(40)] + [scene.record() for _ in range(2)]
    assert not any(map(scene.row.admits, records))
    scene.pauses.begin(pause)
    _confirm(scene)
    scene.clock.now_s += 11.0
    scene.breakers.turn()
    _confirm(scene)
    scene.breakers.turn()
    assert scene.ready == records[40:41]
    assert scene.row.view.counts() == {pause: 40, scene.breakers.why(scene.stripe): 1}


class BusyQueue:
    """A job of it waits for the breaker, and has no free runner when it is let go."""

    def __init__(self) -> None:
        self.released = 0

    def held(self, _why: BreakerOpen) -> int:
        return 1

    def note_change(self, _why: BreakerOpen) -> None:
        return

    def release_first(self, _why: BreakerOpen) -> None:
        self.released += 1


def test_a_queue_whose_runners_are_busy_keeps_the_probe_from_no_other() -> None:
    """Queues of one process have their turns: one may have its runners in long jobs of other types."""
    scene, busy = Scene(), BusyQueue()
    scene.breakers._holders.insert(0, busy)
    scene.end(FAILED, FAILED)
    record = scene.record()
    assert not scene.row.admits(record)
    _confirm(scene)
    scene.clock.now_s += 11.0
    scene.breakers.turn()
    _confirm(scene)
    for _ in range(2):
        scene.clock.now_s += OFFER_S
        scene.breakers.turn()
    assert (scene.ready, busy.released) == ([record], 1)


def _confirm(scene: Scene) -> None:
    """What this process has decided could not be written: so it holds here."""
    write = scene.stripe.take_write()
    while write is not None:
        scene.stripe.note_unwritten(write)
        write = scene.stripe.take_write()


# ---- blocks


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (OSError("refused"), True),
        (Retry("later"), True),
        (ExceptionGroup("two", [Snooze(timedelta(1)), OSError()]), True),
        (NotOurs("a card was declined"), False),
        (Discard("pointless"), False),
        (Snooze(timedelta(seconds=1)), False),
        (RateLimited(timedelta(seconds=1)), False),
    ],
    ids=str,
)
def test_the_end_of_a_block_counts_and_not_the_end_of_its_job(error: Exception, failed: bool) -> None:
    """A job that goes on after its block has failed still counts as a failure of the dependency."""

    def work(number: int) -> None:
        try:
            with current_job().dependency("stripe"):
                raise error
        except Exception:  # noqa: BLE001  # the job can do without
            return

    scene = Scene(work)
    assert [scene.run(), scene.run()] == [DONE, DONE]
    assert scene.stripe.phase == ("open" if failed else "closed")


def test_a_job_fails_after_its_block_has_ended_well() -> None:
    """That is no failure of the dependency."""

    def work(number: int) -> None:
        with current_job().dependency("stripe"):
            pass
        raise ValueError("of its own")

    scene = Scene(work)
    assert [type(scene.run()) for _ in range(3)] == [Retried] * 3
    assert scene.stripe.phase == "closed"


def test_a_job_without_needs_is_turned_away_at_its_block_at_no_attempts_cost() -> None:
    """It is snoozed until the breaker may probe, and a little longer; it may catch the error and do without."""
    fell_back: list[str] = []

    def work(number: int) -> None:
        try:
            with current_job().dependency("stripe"):
                raise OSError("refused")
        except DependencyDown as down:
            fell_back.append(down.dependency)
            raise

    scene = Scene(work, needs=())
    assert [type(scene.run()) for _ in range(2)] == [Retried, Retried]
    snoozed = scene.run()
    assert isinstance(snoozed, Snoozed)
    assert fell_back == ["stripe"]
    _confirm(scene)
    scene.clock.now_s += 11.0
    assert isinstance(scene.run(), Snoozed)
    scene.breakers.turn()  # a job has asked for it: this process leases the probe
    _confirm(scene)
    assert type(scene.run()) is Retried
    assert scene.stripe.opening is not None
    assert scene.stripe.opening.trips == 2


def test_an_unknown_dependency_is_named_with_what_is_near() -> None:
    """The job fails, with the way out in its error."""

    def work(number: int) -> None:
        with pytest.raises(UnknownDependency, match=r"did you mean stripe.*pipeline.dependency\('strpe'\)"):
            current_job().dependency("strpe").__enter__()

    assert Scene(work).run() is DONE
