"""Breakers of several processes: one opens it for all, one job probes, and whatever is killed, it closes again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulation.fleets.breakers import Clock, Log, SimWorker
from stoker.consumers.breakers.breaker_state import LEASE_S
from stoker.topology import Breaker

RULES = Breaker(failures=3, open_for=timedelta(seconds=10), longest=timedelta(seconds=40))


class Fleet:
    """Some processes with one log and one clock."""

    def __init__(self, count: int, rules: Breaker = RULES) -> None:
        self.clock, self.log, self._rules = Clock(), Log(), rules
        self.workers = [self.worker(f"w{number}") for number in range(count)]

    def worker(self, name: str) -> SimWorker:
        """A process that starts now."""
        return SimWorker(name, self.log, self.clock, self._rules)

    def turn(self, times: int = 3) -> None:
        """All control threads turn."""
        for _ in range(times):
            for worker in self.workers:
                worker.turn()

    def pass_time(self, length_s: float) -> None:
        """Time passes, and the control threads turn meanwhile."""
        end_s = self.clock.now_s + length_s
        while self.clock.now_s < end_s:
            self.clock.now_s = min(end_s, self.clock.now_s + 0.5)
            self.turn(1)
            self.begin_released()

    def begin_released(self) -> None:
        """The jobs that breakers let go ask again."""
        for worker in self.workers:
            released, worker.holder.released = worker.holder.released, []
            for job in released:
                worker.begin(job)

    @property
    def phases(self) -> set[str]:
        """The breaker's states."""
        return {worker.phase for worker in self.workers}

    @property
    def probes(self) -> list[object]:
        """The jobs that probe."""
        return [worker.probe for worker in self.workers if worker.probe is not None]


def opened(count: int = 3) -> Fleet:
    """A fleet with an open breaker, and a job that waits in each process."""
    fleet = Fleet(count)
    fleet.workers[0].fail(3)
    fleet.turn()
    for worker in fleet.workers:
        assert worker.begin() is None
    return fleet


def test_failures_in_a_row_in_one_process_open_the_breaker_for_all() -> None:
    """A success between them begins anew; the order has who, why and until when."""
    fleet = Fleet(2)
    first, second = fleet.workers
    first.fail(2)
    job = first.begin()
    assert job is not None
    first.end(job, failed=False)
    first.fail(2)
    fleet.turn()
    assert fleet.phases == {"closed"}
    first.fail(1)
    assert (first.phase, second.phase) == ("open", "closed")
    fleet.turn()
    assert fleet.phases == {"open"}
    (order,) = first.own.audited
    assert (order.verb, order.operator, order.reason) == (
        "open", "worker w0", "3 runs in a row have failed, the last one with ConnectionError: refused",
    )  # fmt: skip
    assert order.until is not None
    assert order.until.timestamp() == fleet.clock.now_s + 10.0


def test_several_processes_that_open_it_at_once_agree() -> None:
    """The last order in the log stands, and each is as good as the other."""
    fleet = Fleet(3)
    for worker in fleet.workers:
        worker.fail(3)
    fleet.turn()
    assert fleet.phases == {"open"}
    assert len({worker.state.opening.order_id for worker in fleet.workers if worker.state.opening}) == 1


def test_one_job_of_the_fleet_probes_and_its_success_closes_the_breaker() -> None:
    """All three have a job that waits; the others wait until it has ended."""
    fleet = opened()
    fleet.pass_time(9.0)
    assert fleet.phases == {"open"}
    fleet.pass_time(3.0)
    assert fleet.phases == {"half-open"}
    probes = fleet.probes
    assert len(probes) == 1
    fleet.pass_time(60.0)
    assert fleet.probes == probes, "the lease is renewed while the job runs"
    (prober,) = [worker for worker in fleet.workers if worker.probe is not None]
    prober.end(prober.probe, failed=False)
    fleet.turn()
    assert fleet.phases == {"closed"}
    fleet.begin_released()
    assert sum(len(worker.running) for worker in fleet.workers) == 2


def test_a_probe_that_fails_keeps_it_open_for_twice_as_long() -> None:
    """Up to `longest`; since when it is open stays known."""
    fleet = opened(2)
    began_at_s = fleet.clock.now_s
    for open_s in (20.0, 40.0, 40.0):
        fleet.pass_time(45.0)
        (prober,) = [worker for worker in fleet.workers if worker.probe is not None]
        prober.end(prober.probe, failed=True)
        prober.begin()
        opening = prober.state.opening
        assert opening is not None
        assert opening.until_at_s == fleet.clock.now_s + open_s
        assert opening.since_at_s == began_at_s
        fleet.turn()
        assert fleet.phases == {"open"}


def test_a_job_that_shows_nothing_gives_the_probe_to_the_next_one() -> None:
    """It was snoozed, say."""
    fleet = Fleet(1)
    (worker,) = fleet.workers
    worker.fail(3)
    for _ in range(2):
        worker.begin()
    fleet.pass_time(12.0)
    first = worker.probe
    assert first is not None
    worker.end(first, failed=None)
    fleet.pass_time(2.0)
    assert worker.probe not in (None, first)
    worker.end(worker.probe, failed=False)
    assert worker.phase == "closed"


def test_the_end_of_a_job_that_began_before_a_change_shows_nothing() -> None:
    """Of twenty jobs that ran when the dependency failed, most end after it was opened, or even closed again."""
    fleet = Fleet(1)
    (worker,) = fleet.workers
    jobs = [worker.begin() for _ in range(20)]
    for job in jobs[:10]:
        worker.end(job, failed=True)
    opening = worker.state.opening
    assert opening is not None
    assert opening.trips == 1
    worker.begin()
    fleet.pass_time(12.0)
    worker.end(worker.probe, failed=False)
    for job in jobs[10:]:
        worker.end(job, failed=True)
    assert worker.phase == "closed"


def test_the_prober_that_is_killed_is_followed_by_another_one() -> None:
    """After its lease is over."""
    fleet = opened()
    fleet.pass_time(12.0)
    (prober,) = [worker for worker in fleet.workers if worker.probe is not None]
    fleet.workers.remove(prober)
    fleet.pass_time(LEASE_S + 3.0)
    assert len(fleet.probes) == 1
    (prober,) = [worker for worker in fleet.workers if worker.probe is not None]
    prober.end(prober.probe, failed=False)
    fleet.turn()
    assert fleet.phases == {"closed"}


def test_a_process_that_starts_finds_the_breaker_as_it_was() -> None:
    """Also where all others are gone, and its time is over: then one job probes."""
    fleet = opened()
    fleet.workers = [fleet.worker("new")]
    assert fleet.phases == {"open"}
    fleet.clock.now_s += 3_600.0
    fleet.workers = [fleet.worker("newer")]
    assert fleet.phases == {"half-open"}
    (worker,) = fleet.workers
    assert worker.begin() is None
    fleet.pass_time(2.0)
    worker.end(worker.probe, failed=False)
    fleet.turn()
    assert fleet.worker("newest").phase == "closed"


def test_a_process_that_cannot_write_opens_and_closes_its_own_breaker() -> None:
    """The others know nothing of it."""
    fleet = Fleet(2)
    cut_off, other = fleet.workers
    cut_off.own.is_cut_off = True
    cut_off.fail(3)
    cut_off.begin()
    fleet.turn()
    assert (cut_off.phase, other.phase) == ("open", "closed")
    fleet.pass_time(15.0)
    assert cut_off.probe is not None
    cut_off.end(cut_off.probe, failed=False)
    assert cut_off.phase == "closed"
    fleet.turn()
    assert (fleet.phases, fleet.log.records) == ({"closed"}, [])


def test_what_could_not_be_written_is_written_later() -> None:
    """The breaker is open for all once the brokers answer again."""
    fleet = Fleet(2, Breaker(failures=3, open_for=timedelta(minutes=5), longest=timedelta(minutes=5)))
    cut_off, other = fleet.workers
    cut_off.own.is_cut_off = True
    cut_off.fail(3)
    fleet.turn()
    cut_off.own.is_cut_off = False
    fleet.pass_time(8.0)
    assert other.phase == "open"


def test_a_breaker_whose_time_is_over_before_its_order_is_written_is_open_for_all_first() -> None:
    """The control thread was held up: the lease comes behind the order, or nobody would know what it is over."""
    fleet = Fleet(2)
    first, second = fleet.workers
    first.fail(3)
    first.begin()
    fleet.clock.now_s += 14.0
    fleet.turn(1)
    assert second.phase == "half-open"
    fleet.pass_time(3.0)
    assert len(fleet.probes) == 1
    fleet.log.close(b"open/dependency/stripe")
    fleet.turn()
    assert fleet.phases == {"closed"}


def test_a_process_whose_clock_is_ahead_opens_it_for_no_longer_than_any_other() -> None:
    """Its jobs probe late by its own clock; the others go by how long the order was given for."""
    fleet = Fleet(2)
    ahead, other = SimWorker("ahead", fleet.log, Clock(fleet.clock.now_s + 3_600.0), RULES), fleet.workers[0]
    ahead.fail(3)
    ahead.turn()
    fleet.turn()
    assert fleet.phases == {"open"}
    assert other.begin() is None
    fleet.pass_time(12.0)
    other.end(other.probe, failed=False)
    fleet.turn()
    assert fleet.phases == {"closed"}


def test_a_process_that_cannot_read_the_topic_probes_by_itself() -> None:
    """After a while without a sight of its own orders."""
    fleet = Fleet(1)
    (worker,) = fleet.workers
    worker.fail(3)
    worker.begin()
    for _ in range(100):
        fleet.clock.now_s += 0.5
        worker.orders.carry_out()
        worker.own.send()
        fleet.begin_released()
    assert worker.probe is not None
    worker.end(worker.probe, failed=False)
    assert worker.phase == "closed"


def test_of_several_leases_the_first_one_in_the_log_counts_for_all() -> None:
    """Also for the worker that has written the last one."""
    fleet = opened(2)
    first, second = fleet.workers
    fleet.clock.now_s += 11.0
    for worker in fleet.workers:
        worker.orders.carry_out()
    second.own.send()
    first.own.send()
    for worker in fleet.workers:
        worker.read()
    probers = {worker.state.opening.prober for worker in fleet.workers if worker.state.opening is not None}
    assert probers == {"w1"}
    fleet.turn()
    fleet.begin_released()
    assert (first.probe, second.probe is None) == (None, False)


def test_a_closing_that_is_read_before_the_own_opening_closes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It stands before it in the log; nor is it logged as what holds now."""
    fleet = opened(2)
    fleet.pass_time(12.0)
    (prober,) = [worker for worker in fleet.workers if worker.probe is not None]
    fleet.log.close(b"open/dependency/stripe")
    prober.end(prober.probe, failed=True)
    caplog.clear()
    prober.read()
    assert prober.phase == "open"
    assert caplog.messages == []
    fleet.turn()
    assert fleet.phases == {"open"}


def test_a_lease_that_comes_behind_the_closing_does_not_keep_it_open() -> None:
    """Its writer closes the breaker once more, for those that start and read the lease alone."""
    fleet = opened(2)
    first, second = fleet.workers
    fleet.clock.now_s += 11.0
    for worker in fleet.workers:
        worker.orders.carry_out()  # both lease the probe
    first.own.send()
    first.read()
    first.orders.carry_out()
    fleet.begin_released()
    first.end(first.probe, failed=False)
    first.orders.carry_out()
    first.own.send()
    second.own.send()
    fleet.turn()
    assert fleet.phases == {"closed"}
    assert fleet.worker("new").phase == "closed"


MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["begin", "well", "fail", "fail_fast", "nothing", "write", "send", "read", "cut", "kill", "wait"]
        ),
        st.integers(0, 2),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@example([("fail_fast", 0), ("fail_fast", 1), ("wait", 0), ("wait", 0)])  # it leased over orders that nobody had read
@given(MOVES)
def test_whatever_happens_it_closes_and_no_job_waits_for_ever(moves: list[tuple[str, int]]) -> None:
    """Writes and reads fall between any two steps; processes are killed and cut off. Then the dependency is up."""
    fleet = Fleet(3)
    for move, number in moves:
        _move(fleet, move, number)
    for worker in fleet.workers:
        worker.own.is_cut_off = False
        for job in list(worker.running):
            worker.end(job, failed=False)
    for _ in range(40):
        fleet.pass_time(5.0)
        assert len(fleet.probes) <= 1 or fleet.phases == {"half-open"}
        for worker in fleet.workers:
            for job in list(worker.running):
                worker.end(job, failed=False)
            if worker.phase != "closed" and not worker.holder.jobs:
                worker.begin()
    assert fleet.phases == {"closed"}
    assert not any(worker.holder.jobs for worker in fleet.workers)
    assert fleet.worker("new").phase == "closed"


def _move(fleet: Fleet, move: str, number: int) -> None:
    worker = fleet.workers[number]
    ends = {"well": False, "fail": True, "nothing": None}
    if move in ends:
        for job in list(worker.running)[:1]:
            worker.end(job, failed=ends[move])
        return
    moves: dict[str, Callable[[], object]] = {
        "begin": worker.begin,
        "fail_fast": lambda: (worker.fail(3), worker.begin()),  # type: ignore[func-returns-value]
        "write": lambda: (worker.orders.carry_out(), fleet.begin_released()),  # type: ignore[func-returns-value]
        "send": worker.own.send,
        "read": worker.read,
        "cut": lambda: setattr(worker.own, "is_cut_off", not worker.own.is_cut_off),
        "kill": lambda: fleet.workers.__setitem__(number, fleet.worker(worker.name)),
        "wait": lambda: setattr(fleet.clock, "now_s", fleet.clock.now_s + 12.0),
    }
    moves[move]()
