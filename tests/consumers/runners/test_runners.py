"""Runners: every ready record runs exactly once, a slow job holds up none beside it, and what has not begun can be
taken back."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.runners import spreading
from stoker.consumers.runners.async_runners import AsyncRunners
from stoker.consumers.runners.async_slots import AsyncSlot
from stoker.consumers.runners.event_loop import RunnerLoop
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.thread_runner import MAX_HANDFUL
from stoker.consumers.runners.thread_runners import ThreadRunners
from support.scenes.deliveries import plain_record
from support.scenes.watched_runners import Order, loops
from support.waiting import wait_until


class Runs:
    """Notes which offsets ran; a runner waits at the offsets in `gates` until they are opened."""

    def __init__(self, gates: Collection[int] = ()) -> None:
        self.gates = {offset: threading.Event() for offset in gates}
        self.begun: list[int] = []
        self.ended: list[int] = []

    def in_thread(self, record: Record, _slot: Slot) -> None:
        """Run as a sync job does."""
        self.begun.append(record.offset)
        if record.offset in self.gates:
            assert self.gates[record.offset].wait(60)
        self.ended.append(record.offset)

    async def on_loop(self, record: Record, _slot: AsyncSlot) -> None:
        """Run as an async job does."""
        self.begun.append(record.offset)
        while record.offset in self.gates and not self.gates[record.offset].is_set():
            await asyncio.sleep(0.001)
        self.ended.append(record.offset)

    def open_all(self) -> None:
        """Let everything end."""
        for gate in self.gates.values():
            gate.set()

    def wait_ended(self, count: int) -> None:
        """Wait until so many have run."""
        wait_until(lambda: len(self.ended) >= count, what=f"{count} runs")


@contextmanager
def threads(size: int, runs: Runs) -> Iterator[ThreadRunners]:
    """Started threads, ended afterwards."""
    runners = ThreadRunners(size, runs.in_thread, "test")
    runners.start()
    yield runners
    runs.open_all()
    runners.stop()
    for thread in runners._threads:
        thread.join(60)
        assert not thread.is_alive


@contextmanager
def loop(size: int, runs: Runs) -> Iterator[AsyncRunners]:
    """A started event loop, ended afterwards."""
    runners = AsyncRunners(size, runs.on_loop, "test")
    runners.start()
    yield runners
    runs.open_all()
    runners.interrupt()
    runners.wait_ended(time.monotonic() + 10)
    assert not runners.loops[0].is_alive


MakeRunners = Callable[[int, Runs], Any]
both = pytest.mark.parametrize("make_runners", [threads, loop])


@both
@pytest.mark.parametrize("size", [1, 4])
def test_every_record_runs_exactly_once(make_runners: MakeRunners, size: int) -> None:
    """However many are offered at a time, none is lost and none runs twice."""
    runs = Runs()
    with make_runners(size, runs) as runners:
        offset = 0
        for count in (1, 2, 3, 500, 1, MAX_HANDFUL * 5, 1):
            runners.make_ready([plain_record(offset + n) for n in range(count)])
            offset += count
        runs.wait_ended(offset)
    assert sorted(runs.ended) == list(range(offset))


@both
def test_a_slow_job_holds_up_none_that_was_taken_with_it(make_runners: MakeRunners) -> None:
    """All others of the same delivery run while the first one still does."""
    runs = Runs(gates=[0])
    with make_runners(2, runs) as runners:
        runners.make_ready([plain_record(n) for n in range(MAX_HANDFUL)])
        runs.wait_ended(MAX_HANDFUL - 1)
        assert 0 not in runs.ended


class Working(Runs):
    """Each job takes a little."""

    def in_thread(self, record: Record, slot: Slot) -> None:
        """Run as a sync job does that waits for something."""
        threading.Event().wait(0.002)
        super().in_thread(record, slot)


def test_a_slow_job_holds_up_none_that_was_taken_with_it_also_under_a_backlog() -> None:
    """There is always something else that is ready, and the jobs behind the slow one run all the same."""
    first, runs = 400, Working(gates=[10])
    with threads(4, runs) as runners:
        runners.make_ready([plain_record(n) for n in range(first)])
        offered, give_up_at_s = first, time.monotonic() + 10
        while not set(range(first)) - {10} <= set(runs.ended):
            assert time.monotonic() < give_up_at_s, sorted(set(range(first)) - set(runs.ended))
            if offered - len(runs.ended) < first:
                runners.make_ready([plain_record(offered + n) for n in range(first)])
                offered += first
            threading.Event().wait(0.001)


class Inside(Runs):
    """Its jobs are seen inside of their slots, as those that wait or compute are."""

    def in_thread(self, record: Record, slot: Slot) -> None:
        """Run as a sync job does."""
        slot.run = cast(Any, record)
        super().in_thread(record, slot)
        slot.run = None


def test_an_idle_runner_takes_over_what_a_busy_one_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: not only when nothing has moved for a while, which frees it in any case."""
    monkeypatch.setattr(spreading, "STALLED_AFTER_S", math.inf)
    runs = Inside(gates=[0])
    with threads(2, runs) as runners:
        runners.make_ready([plain_record(n) for n in range(10)])
        runs.wait_ended(9)
        assert 0 not in runs.ended


def test_what_another_runner_takes_over_keeps_its_order() -> None:
    """The jobs behind a stuck one run in the order of their delivery, so that none waits longer than it has to."""
    runs = Runs(gates=[0])
    with threads(1, runs) as runners:
        runners.make_ready([plain_record(n) for n in range(10)])
        wait_until(lambda: runs.begun == [0], what="the first to run")
        assert runners.replace(runners.slots[0])
        runs.wait_ended(9)
    assert runs.ended == [*range(1, 10), 0]


@both
def test_as_many_slow_jobs_run_at_once_as_there_are_runners(make_runners: MakeRunners) -> None:
    """Slow jobs spread over all runners, and no further."""
    runs = Runs(gates=range(6))
    with make_runners(4, runs) as runners:
        runners.make_ready([plain_record(n) for n in range(6)])
        wait_until(lambda: len(runs.begun) == 4, what="four jobs at once")
        assert runs.ended == []
        runs.open_all()
        runs.wait_ended(6)


@both
def test_what_has_not_begun_is_taken_back_and_the_rest_runs(make_runners: MakeRunners) -> None:
    """Of a partition that goes away, the running job ends, and those behind it come back; others run."""
    runs, leaving = Runs(gates=[0]), Assignment(2, "t", 1)
    with make_runners(1, runs) as runners:
        runners.make_ready([plain_record(0, assignment=leaving)])
        wait_until(lambda: runs.begun == [0], what="the first to run")
        runners.make_ready([plain_record(n, assignment=leaving if n % 2 else None) for n in range(1, 9)])
        dropped = runners.drop([leaving])
        assert sorted(record.offset for record in dropped) == [1, 3, 5, 7]
        runs.open_all()
        runs.wait_ended(5)
    assert runs.ended == [0, 2, 4, 6, 8]


@both
def test_after_the_stop_nothing_begins(make_runners: MakeRunners) -> None:
    """What waits is left alone; what runs may end."""
    runs = Runs(gates=[0])
    with make_runners(1, runs) as runners:
        runners.make_ready([plain_record(n) for n in range(4)])
        wait_until(lambda: runs.begun == [0], what="the first to run")
        runners.stop()
        runs.open_all()
        runs.wait_ended(1)
    assert runs.begun == [0]


class _SlowToCompare(list[Assignment]):
    """Assignments whose comparison takes until `event` is set: it holds a `drop` open in its middle."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def __contains__(self, _assignment: object) -> bool:
        assert self._event.wait(60)
        return False


def test_a_runner_that_looks_while_records_are_taken_back_still_gets_the_rest() -> None:
    """A runner that found nothing in the middle of a `drop` runs what the drop leaves."""
    runs, is_idle = Runs(gates=[0]), threading.Event()
    with loop(1, runs) as runners:
        runners.make_ready([plain_record(0)])
        wait_until(lambda: runs.begun == [0], what="the first to run")
        runners.make_ready([plain_record(1), plain_record(2)])
        dropping = threading.Thread(target=runners.drop, args=(_SlowToCompare(is_idle),))
        dropping.start()
        runs.open_all()
        runs.wait_ended(1)
        wait_until(lambda: runners.loops[0]._idle, what="the runner to go idle")
        is_idle.set()
        dropping.join(60)
        runs.wait_ended(3)


def test_interrupting_the_loop_cancels_the_jobs_that_still_run() -> None:
    """A job that waits is cancelled, and the loop's thread ends."""
    cancelled = threading.Event()

    async def wait_for_ever(_record: Record, _slot: AsyncSlot) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    runners = AsyncRunners(2, wait_for_ever, "test")
    runners.start()
    runners.make_ready([plain_record(1)])
    wait_until(lambda: not runners._ready, what="the job to begin")
    runners.interrupt()
    runners.wait_ended(time.monotonic() + 10)
    assert cancelled.is_set()
    assert not runners.loops[0].is_alive


def test_a_task_that_its_job_cancels_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """At the job's end or later, by what it left behind: the next job runs undisturbed, and in as many slots."""
    cancelled: list[int] = []

    async def cancel_at_the_end(_number: int) -> None:
        cancel(asyncio.current_task())

    async def leave_a_canceller(_number: int) -> None:
        asyncio.get_running_loop().call_later(0.01, cancel, asyncio.current_task())

    async def suspend(_number: int) -> None:
        await asyncio.sleep(0)

    def cancel(task: asyncio.Task[Any] | None) -> None:
        assert task is not None
        task.cancel()
        cancelled.append(id(task))

    with loops(1) as shift:
        for turn, cancelling in enumerate((cancel_at_the_end, leave_a_canceller, cancel_at_the_end)):
            shift.hand_in(Order(handler=cancelling))
            wait_until(lambda turn=turn: len(cancelled) > turn, what="the cancellation")  # type: ignore[misc]
            shift.hand_in(Order(handler=suspend))
            shift.wait_ended(2 * turn, 2 * turn + 1)
        assert len(shift.runners.slots) == 1
    assert all(shift.has_returned(number) for number in range(6))
    assert sum("was cancelled with no job in it" in record.getMessage() for record in caplog.records) == 3


def test_the_only_task_may_end_before_the_one_in_its_place_begins() -> None:
    """A stuck job that ends just when its task is replaced leaves a loop that goes on."""
    runs = Runs(gates=[0])
    with loop(1, runs) as runners:
        runners.make_ready([plain_record(0)])
        wait_until(lambda: runs.begun == [0], what="the job to begin")
        (slot,) = runners.slots
        slot.is_replaced = True  # the first half of `replace`
        runs.open_all()
        wait_until(lambda: slot not in runners.slots, what="its task to end")
        runners.make_ready([plain_record(1)])
        runs.wait_ended(2)


def test_a_record_is_not_left_to_a_task_that_was_replaced_while_idle() -> None:
    """A job that ends while it is being reported as stuck: its task ends too, and the next record runs at once."""
    runs = Runs()
    with loop(1, runs) as runners:
        (slot,) = runners.slots
        wait_until(lambda: runners.loops[0]._idle, what="the task to go idle")
        assert runners.replace(slot)
        wait_until(lambda: slot not in runners.slots, what="the replaced task to end")
        runners.make_ready([plain_record(0)])
        runs.wait_ended(1)
        assert len(runners.slots) == 1


def test_records_that_come_while_all_tasks_work_wake_nobody() -> None:
    """A wake costs more than a short job: busy tasks look again by themselves, and all records run."""
    runs = Runs(gates=[0, 1])
    with loop(2, runs) as runners:
        told: list[object] = []
        only = runners.loops[0]
        call_on_loop = only._call_on_loop
        runners.make_ready([plain_record(0), plain_record(1)])
        wait_until(lambda: len(runs.begun) == 2, what="both tasks to work")

        def note(what: Callable[[], None]) -> None:
            told.append(what)
            call_on_loop(what)

        only._call_on_loop = note  # type: ignore[method-assign]
        runners.make_ready([plain_record(offset) for offset in range(2, 100)])
        assert not [what for what in told if what == only._wake]
        runs.open_all()
        runs.wait_ended(100)


class _FilledWhenFoundEmpty(deque[Record]):
    """A queue that another thread fills, and wakes for, between a task's look into it and the task's rest."""

    wake: Callable[[], None]
    is_filled = False

    def popleft(self) -> Record:
        """Take a record; the first look that finds none is followed by a record at once."""
        try:
            return super().popleft()
        except IndexError:
            if not self.is_filled:
                self.is_filled = True
                self.append(plain_record(7))
                self.wake()
            raise


def test_a_record_that_comes_as_the_last_task_goes_to_rest_is_taken() -> None:
    """It is offered when the task has looked and is not idle yet, so nobody is woken: the task looks once more."""
    runs, ready = Runs(), _FilledWhenFoundEmpty()
    only = RunnerLoop(1, ready, runs.on_loop, "test", deque[Record].clear, queue="q")
    ready.wake = only.wake
    only.start()
    runs.wait_ended(1)
    assert runs.ended[0] == 7
    only.interrupt()
    only.join(60)


def test_a_record_that_woke_nobody_is_found_by_the_watchdog() -> None:
    """It came while a replacement loop was being started, and was told to the blocked one only."""
    runs = Runs()
    with loop(1, runs) as runners:
        wait_until(lambda: runners.loops[0]._idle, what="the task to go idle")
        runners._ready.extend([plain_record(0)])  # `make_ready` without its wake
        runners.check(time.monotonic())
        runs.wait_ended(1)


def test_jobs_that_never_suspend_do_not_keep_others_from_going_on() -> None:
    """However many of them come, one after the other: a job that sleeps beside them wakes."""
    slept = threading.Event()

    async def run_one(record: Record, _slot: AsyncSlot) -> None:
        if record.offset == 0:
            await asyncio.sleep(0.01)
            slept.set()
        elif not slept.is_set():
            runners.make_ready([plain_record(record.offset + 1)])  # as the next of its lane

    runners = AsyncRunners(2, run_one, "test")
    runners.start()
    try:
        runners.make_ready([plain_record(0), plain_record(1)])
        assert slept.wait(60)
    finally:
        slept.set()
        runners.interrupt()
        runners.wait_ended(time.monotonic() + 10)


class Handing(Runs):
    """Jobs that are all done, and those of them that were handed over, in order."""

    def __init__(self, gates: Collection[int] = ()) -> None:
        super().__init__(gates)
        self.handed: list[int] = []

    def in_thread(self, record: Record, slot: Slot) -> None:
        """Leave the record to be handed over."""
        super().in_thread(record, slot)
        slot.done.append(record)

    def settle_done(self, done: deque[Record]) -> None:
        """Note what is handed over."""
        while done:
            self.handed.append(done.popleft().offset)

    @contextmanager
    def by(self, size: int) -> Iterator[ThreadRunners]:
        """Started threads, ended afterwards."""
        runners = ThreadRunners(size, self.in_thread, "test", settle_done=self.settle_done)
        runners.start()
        yield runners
        runners.stop()
        self.open_all()
        for thread in runners._threads:
            thread.join(60)


def test_jobs_that_are_done_are_handed_over_while_a_slow_one_runs_after_them() -> None:
    """The next of their keys wait for that; nothing else is ready that would keep the spreading thread awake."""
    runs = Handing(gates=[3])
    with runs.by(1) as runners:
        runners.make_ready([plain_record(n) for n in range(4)])
        wait_until(lambda: runs.handed == [0, 1, 2], what="three to be handed over")
        runs.open_all()
        wait_until(lambda: runs.handed == [0, 1, 2, 3], what="the slow one to be handed over")


def test_the_last_of_a_handful_is_handed_over_at_once() -> None:
    """Not by the thread that looks every 2 ms."""
    runs = Handing()
    with runs.by(1) as runners:
        runners._spreader._settle_behind_slow = lambda: None  # type: ignore[method-assign]
        for number in range(20):
            runners.make_ready([plain_record(number)])
            wait_until(lambda: len(runs.handed) == number + 1)  # noqa: B023


def test_what_is_done_is_handed_over_at_the_stop() -> None:
    """A slow job that goes on then keeps back nothing."""
    runs = Handing(gates=[1])
    with runs.by(1) as runners:
        runners._spreader._settle_behind_slow = lambda: None  # type: ignore[method-assign]
        runners.make_ready([plain_record(0), plain_record(1)])
        wait_until(lambda: runs.begun == [0, 1])
        runners.stop()
        assert runs.handed == [0]


def test_a_runner_may_hand_over_what_is_done_while_the_spreading_thread_looks() -> None:
    """Also just between its look and its grasp, as an interpreter without the global lock allows."""

    class Emptied(deque[Record]):
        """Looks as if something were done, and is empty when it is taken."""

        def __bool__(self) -> bool:
            """It was, a moment ago."""
            return True

    runners = ThreadRunners(1, lambda _record, _slot: None, "test")
    runners.slots[0].done = Emptied()
    runners._spreader._settle_behind_slow()


def test_a_runner_that_ends_while_the_spreading_thread_looks_is_forgotten() -> None:
    """Its job was stuck, and has ended after all: nothing keeps its slot, and the record that was done in it."""

    class KnownSlot(Slot):
        """Tells when nothing keeps it any more."""

    def end(done: deque[Record]) -> None:
        done.clear()
        (slot,) = runners.slots
        slot.is_replaced = True
        runners._threads = []  # as if its own thread retired it
        runners._retire(slot)

    runners = ThreadRunners(1, lambda _record, _slot: None, "test", KnownSlot, settle_done=end)
    kept = weakref.ref(runners.slots[0])
    runners.slots[0].done.append(plain_record(0))
    while runners.slots:
        runners._spreader._settle_behind_slow()
    runners._spreader._settle_behind_slow()
    gc.collect()
    assert kept() is None


def test_a_spreading_thread_that_fails_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it runners that rest would sleep for good behind one slow job."""
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _args: failed.set())
    runs = Runs()
    with threads(1, runs) as runners:
        assert runners.crashed is None
        monkeypatch.setattr(runners._spreader, "_wake_idle", lambda: 1 / 0)
        runners.make_ready([plain_record(0)])
        assert failed.wait(60)
        assert isinstance(runners.crashed, ZeroDivisionError)


def test_a_runner_that_fails_between_two_jobs_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each such failure would take a runner away, and the queue would end without any, unnoticed."""
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _args: failed.set())
    runs = Runs()
    with threads(1, runs) as runners:
        monkeypatch.setattr(runners, "_handful", lambda: 1 / 0)
        runners.make_ready([plain_record(0)])
        assert failed.wait(60)
        assert isinstance(runners.crashed, ZeroDivisionError)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_what_a_job_does_after_its_interrupt_is_waited_for(is_replaced: bool) -> None:
    """Until it was handed over, or the time for that is over; also where another runner has its place."""
    runs = Handing(gates=[0])
    with runs.by(1) as runners:
        runners.make_ready([plain_record(0)])
        wait_until(lambda: runs.begun == [0])
        if is_replaced:
            assert runners.replace(runners.slots[0])
            runners.make_ready([plain_record(1)])
            runs.wait_ended(1)
        runners.interrupt()
        runners.wait_ended(time.monotonic())
        assert 0 not in runs.handed, "it resists, and the time is over"
        waiting = threading.Thread(target=runners.wait_ended, args=(time.monotonic() + 60,))
        waiting.start()
        runs.open_all()
        waiting.join(60)
        assert 0 in runs.handed


def test_runners_that_replace_stuck_ones_are_waited_for_too() -> None:
    """Their threads come later than the others, and those of jobs that have ended after all are forgotten."""
    runs = Handing(gates=[0, 1])
    with runs.by(1) as runners:
        runners.make_ready([plain_record(0)])
        wait_until(lambda: runs.begun == [0])
        (stuck,) = runners.slots
        assert runners.replace(stuck)
        runners.make_ready([plain_record(1)])
        wait_until(lambda: runs.begun == [0, 1], what="the replacement to begin")
        runs.gates[0].set()
        wait_until(lambda: stuck not in runners.slots, what="the stuck one to retire")
        runners.interrupt()
        waiting = threading.Thread(target=runners.wait_ended, args=(time.monotonic() + 60,))
        waiting.start()
        runs.gates[1].set()
        waiting.join(60)
        assert runs.handed == [0, 1]
        assert not any(thread.is_alive for thread in runners._threads)


def test_runners_that_never_started_are_not_waited_for() -> None:
    """Those of isolated jobs start with the first of them."""
    runners = ThreadRunners(2, lambda _record, _slot: None, "test")
    runners.interrupt()
    runners.wait_ended(math.inf)


class HandingOnLoop(Handing):
    """The same for jobs on an event loop; a job at one of the `gates` holds the loop."""

    async def on_loop(self, record: Record, slot: AsyncSlot) -> None:
        """Leave it to be handed over, as the pipe does."""
        Runs.in_thread(self, record, cast(Slot, slot))
        slot.loop_state.done.append(record)

    @contextmanager
    def on(self, size: int) -> Iterator[AsyncRunners]:
        """A started event loop, ended afterwards."""
        runners = AsyncRunners(size, self.on_loop, "test", settle_done=self.settle_done)
        runners.start()
        yield runners
        self.open_all()
        runners.interrupt()
        runners.wait_ended(time.monotonic() + 10)


def test_async_jobs_that_are_done_are_handed_over_once_a_turn() -> None:
    """All that the tasks of a loop have done in one turn goes together, and none stays behind."""
    runs, batches = HandingOnLoop(), list[int]()
    settle_done = runs.settle_done

    def count(done: deque[Record]) -> None:
        batches.append(len(done))
        settle_done(done)

    runs.settle_done = count  # type: ignore[method-assign]
    with runs.on(4) as runners:
        runners.make_ready([plain_record(n) for n in range(400)])
        wait_until(lambda: len(runs.handed) == 400, what="all to be handed over")
    assert max(batches) > 4


def test_async_jobs_that_are_done_do_not_wait_for_one_that_holds_the_loop() -> None:
    """The watchdog hands them over, as it sees that the loop does not turn."""
    runs = HandingOnLoop(gates=[3])
    with runs.on(1) as runners:
        runners.make_ready([plain_record(n) for n in range(4)])
        wait_until(lambda: runs.begun == [0, 1, 2, 3], what="the one that holds the loop")
        assert runs.handed == []
        runners.check(1.0)
        runners.check(1.05)
        assert runs.handed == [0, 1, 2]
        runs.open_all()
        wait_until(lambda: runs.handed == [0, 1, 2, 3], what="the rest to be handed over")


def test_what_is_done_on_a_loop_is_handed_over_at_the_stop() -> None:
    """Also where the loop is left behind, since a job holds it."""
    runs = HandingOnLoop(gates=[1])
    with runs.on(1) as runners:
        runners.make_ready([plain_record(0), plain_record(1)])
        wait_until(lambda: runs.begun == [0, 1], what="the one that holds the loop")
        runners.interrupt()
        runners.wait_ended(time.monotonic())
        assert runs.handed == [0]
