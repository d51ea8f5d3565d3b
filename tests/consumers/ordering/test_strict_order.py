"""Strict order: later jobs of a key wait while one of it waits in a retry tier; other keys flow."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from stoker.consumers import Retry
from stoker.consumers.job.failure import describe_failure
from stoker.consumers.ordering.pending_retries import awaited_as
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, SKIPPED, Dead, Outcome, Retried
from stoker.consumers.records.record import Record
from stoker.consumers.settling.excuse import Excuse
from stoker.consumers.settling.settle import Settler
from stoker.consumers.settling.writes import plan_writes
from stoker.consumers.sources.source import Tier
from stoker.consumers.steps.pipe import SettleStep
from stoker.producers import Producer
from stoker.topology import ClusterSettings, RetryPolicy
from support.scenes.deliveries import NOW, TIERS, Delivery, declare
from support.scenes.worker import Journal, create, declare_queue, running_worker, wait_all_committed, wait_dead

FAILURE = describe_failure("work", ValueError("broken"))


class Scene:
    """Lanes of a strict queue, and what became ready, in order."""

    def __init__(self) -> None:
        self.delivery: Delivery = declare(ordering="strict")
        self.ready: list[Record] = []
        self.lanes = StrictLanes(self.ready.extend)
        self.main = Assignment(1, "unit.q", 0)
        self.tier = Assignment(2, "unit.q.retry.1s", 0, source=Tier(TIERS[0]))

    def job(self, offset: int, key: bytes = b"k") -> Record:
        """A job of the main topic."""
        return self.delivery.record({"ce_id": b"%d" % offset}, key=key, offset=offset, assignment=self.main)

    def retry(self, of: Record, attempt: int = 2, offset: int = 100) -> Record:
        """The record of a tier that follows it."""
        headers = {
            "ce_id": of.headers["ce_id"],
            "stoker-origin": of.headers.get("stoker-origin", str(of).encode()),
            "stoker-attempt": b"%d" % attempt,
        }
        return self.delivery.record(headers, key=of.key, offset=offset, assignment=self.tier)

    def finish(self, record: Record, outcome: Outcome) -> None:
        """As the worker does, which hands the outcome in between."""
        self.lanes.expect(record, outcome)
        self.lanes.finish(record, outcome)

    def offsets(self) -> list[int]:
        """What became ready."""
        return [record.offset for record in self.ready]


def failed(next_attempt: int = 2) -> Retried:
    """A failed run."""
    return Retried(due=NOW + TIERS[0], tier=TIERS[0], next_attempt=next_attempt, failure=FAILURE)


def test_later_jobs_of_a_key_wait_until_its_retry_is_done_and_others_flow() -> None:
    """0 fails; 1 and 2 of its key wait, 3 of another key does not; they go on when the retry is done."""
    scene = Scene()
    first, *others = [scene.job(0), scene.job(1), scene.job(2), scene.job(3, b"other")]
    scene.lanes.add([first, *others])
    assert scene.offsets() == [0, 3]
    scene.finish(first, failed())
    assert scene.offsets() == [0, 3]
    assert scene.lanes.parking.count == 2
    second = scene.retry(first)
    scene.lanes.add([second])
    assert scene.offsets() == [0, 3, 100]
    scene.finish(second, failed(3))
    assert scene.offsets() == [0, 3, 100]
    third = scene.retry(first, attempt=3, offset=101)
    scene.lanes.add([third])
    scene.finish(third, DONE)
    assert scene.offsets() == [0, 3, 100, 101, 1]
    assert scene.lanes.parking.count == 1


@pytest.mark.parametrize("outcome", [Dead(reason="attempts-spent", failure=FAILURE), INTERRUPTED])
def test_a_key_goes_on_after_a_dead_letter_only_when_that_is_durable(outcome: Outcome) -> None:
    """Else a crash would run the job again after the next one of its key had run."""
    scene = Scene()
    first, second = scene.job(0), scene.job(1)
    scene.lanes.add([first, second])
    scene.finish(first, outcome)
    assert scene.offsets() == [0]
    scene.lanes.free(first)
    assert scene.offsets() == [0, 1]


def test_a_retry_that_is_here_before_its_runner_goes_on_is_awaited_no_more() -> None:
    """One that is due at once comes back within the time that a runner may have to wait for the interpreter."""
    scene = Scene()
    settler = cast(Settler, Quick(lambda record: _let_go(scene.lanes.add([scene.retry(record)]))))
    settle_step = SettleStep(scene.delivery.step_context, scene.lanes, settler, Excuse(scene.delivery.queue))
    first, second = scene.job(0), scene.job(1)
    scene.lanes.add([first, second])
    settle_step.settle(first, failed())
    assert scene.offsets() == [0, 100]
    scene.finish(scene.ready[1], DONE)
    assert scene.offsets() == [0, 100, 1]


def _let_go(aside: list[Record]) -> None:
    assert not aside


class Quick:
    """A settler whose retries are delivered before it returns."""

    def __init__(self, deliver: Callable[[Record], None]) -> None:
        self._deliver = deliver

    def hand_in(self, record: Record, _outcome: Outcome) -> None:
        """Settle it."""
        self._deliver(record)


def test_what_stood_in_the_tiers_at_the_beginning_is_waited_for() -> None:
    """After a crash the tiers tell which keys have to wait."""
    scene = Scene()
    waiting = scene.retry(scene.job(0))
    scene.lanes.begin({b"k": [awaited_as(waiting)]})
    scene.lanes.add([scene.job(1), scene.job(2, b"other")])
    assert scene.offsets() == [2]
    scene.lanes.add([waiting])
    scene.finish(waiting, DONE)
    assert scene.offsets() == [2, 100, 1]


def test_a_twin_of_an_attempt_does_not_pass_for_the_next_one() -> None:
    """A crash may leave two records of attempt 2: the second one is skipped, and attempt 3 is still waited for."""
    scene = Scene()
    job = scene.job(0)
    one, twin, third = scene.retry(job), scene.retry(job, offset=101), scene.retry(job, attempt=3, offset=102)
    scene.lanes.begin({b"k": [awaited_as(one), awaited_as(twin)]})
    scene.lanes.add([one, scene.job(1)])
    scene.finish(one, failed(3))
    scene.lanes.add([twin])
    scene.finish(twin, SKIPPED)
    assert scene.offsets() == [100, 101]
    scene.lanes.add([third])
    scene.finish(third, DONE)
    assert scene.offsets() == [100, 101, 102, 1]


def test_nothing_is_waited_for_that_stands_in_a_partition_which_went_away() -> None:
    """Its tiers and its jobs are the next owner's; what is known of it here is forgotten."""
    scene = Scene()
    first, second = scene.job(0), scene.job(1)
    scene.lanes.add([first, second])
    scene.finish(first, failed())
    assert scene.lanes.drop([scene.main, scene.tier]) == [second]
    assert scene.lanes.parking.count == 0
    scene.lanes.add([scene.job(5)])
    assert scene.offsets() == [0, 5]


class Leaving(Assignment):
    """A partition that is given away just when a runner has asked whether it is ours, unless something bars it."""

    def give_away(self, lanes: StrictLanes, others: list[Assignment]) -> None:
        """At the next such moment."""
        self.lanes, self.others = lanes, others

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name == "is_current" and found and hasattr(self, "lanes") and not self.lanes._lock.locked():
            self.leave()
            self.lanes.drop([self, *self.others])
        return found


def test_a_retry_of_a_partition_that_is_given_away_meanwhile_is_not_waited_for() -> None:
    """It would be waited for twice when the partition comes back, and its key would stand still for ever."""
    scene = Scene()
    leaving = Leaving(1, "unit.q", 0)
    leaving.give_away(scene.lanes, [scene.tier])
    job = scene.delivery.record(key=b"k", offset=0, assignment=leaving)
    scene.lanes.add([job])
    scene.finish(job, failed())
    assert leaving.is_current in (True, False)  # asked, so that it is given away now, if it was not before
    waiting = scene.retry(job)
    scene.lanes.begin({b"k": [awaited_as(waiting)]})
    scene.lanes.add([scene.job(1), waiting])
    scene.finish(waiting, DONE)
    assert scene.offsets() == [0, 100, 1]


def test_a_retry_of_an_assignment_that_was_replaced_is_waited_for_until_the_partition_leaves() -> None:
    """The offsets went back while the job ran; its key goes on in the same lane, and its retry is still written."""
    scene = Scene()
    job, anew = scene.job(5), Assignment(3, "unit.q", 0)
    scene.lanes.add([job])
    anew.replace(scene.main)
    scene.lanes.drop([scene.main])
    later = scene.delivery.record({"ce_id": b"later"}, key=b"k", offset=1, assignment=anew)
    scene.lanes.add([later])
    scene.finish(job, failed())
    assert scene.offsets() == [5]
    scene.lanes.add([retry := scene.retry(job)])
    scene.finish(retry, DONE)
    assert scene.offsets() == [5, 100, 1]


def test_a_retry_of_a_replaced_assignment_is_not_waited_for_once_the_partition_leaves() -> None:
    """It would be waited for twice when the partition comes back."""
    scene = Scene()
    job, anew = scene.job(5), Assignment(3, "unit.q", 0)
    scene.lanes.add([job])
    anew.replace(scene.main)
    anew.leave()
    scene.lanes.drop([anew, scene.tier])
    scene.finish(job, failed())
    assert scene.lanes.awaited_source(job) is None


def test_an_empty_origin_is_none() -> None:
    """A foreign publisher's empty header is no origin for the retry, nor for those who wait for it."""
    scene = Scene()
    job = scene.delivery.record({"stoker-origin": b""}, key=b"k", offset=0, assignment=scene.main)
    writes = plan_writes(job, failed(), queue=scene.delivery.queue, worker_id="w", now=NOW)
    (following,) = writes.records
    scene.lanes.add([job, scene.job(1)])
    scene.finish(job, failed())
    retry = scene.delivery.record(dict(following.headers), key=b"k", offset=100, assignment=scene.tier)
    scene.lanes.add([retry])
    scene.finish(retry, DONE)
    assert scene.offsets() == [0, 100, 1]


def test_order_holds_through_retries_on_a_real_broker(cluster: ClusterSettings, namespace: str) -> None:
    """12 jobs of 3 keys: those that fail, are snoozed or die keep their key waiting, and no other."""
    tiers = (timedelta(milliseconds=300),)
    pipeline, queue = declare_queue(
        namespace, tiers=tiers, ordering="strict", retry=RetryPolicy(attempts=3), partitions=1
    )
    journal = Journal()

    @pipeline.job(queue)
    def act(key: str, number: int) -> None:
        attempt = journal.note((key, number)).attempt
        if number == 1 and (key == "dies" or attempt < 3):
            raise Retry(after=timedelta(0)) if key == "soon" else ValueError(number)

    create(pipeline, cluster)
    keys = ("fails", "soon", "dies")
    with running_worker(pipeline, cluster), Producer(pipeline, cluster) as producer:
        for number in range(4):
            for key in keys:
                producer.enqueue(act.with_options(key=key), key, number)
        wait_dead(cluster, queue, 1)
        journal.wait(len(keys) * 6)
        wait_all_committed(cluster, queue)
    by_key: defaultdict[str, list[int]] = defaultdict(list)
    for key, number in journal.noted:
        by_key[key].append(number)
    assert by_key == {name: [0, 1, 1, 1, 2, 3] for name in keys}
    assert journal.noted.index(("soon", 3)) < journal.noted.index(("dies", 2))


def test_a_key_whose_jobs_fill_the_bounds_still_gets_its_retry(cluster: ClusterSettings, namespace: str) -> None:
    """More jobs wait behind the retry than may be in memory: it comes all the same, or nothing would ever go on."""
    pipeline, queue = declare_queue(namespace, ordering="strict", partitions=1)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        if journal.note(number).attempt == 1 and number == 0:
            raise ValueError

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.with_options(key="k").call(number) for number in range(200))
    with running_worker(pipeline, cluster, max_in_flight=20):
        journal.wait(201)
    assert journal.noted == [0, *range(200)]


def test_a_key_that_waits_for_a_retry_takes_less_than_half_a_kilobyte() -> None:
    """A tier may hold a great many retries, each of a key of its own: 100,000 of them take tens of megabytes."""
    keys, scene = 20_000, Scene()
    tracemalloc.start()
    try:
        scene.lanes.begin({b"key-%d" % n: [awaited_as(scene.retry(scene.job(n)))] for n in range(keys)})
        assert tracemalloc.get_traced_memory()[0] < 500 * keys
    finally:
        tracemalloc.stop()


def test_nothing_is_left_of_lanes_whose_partition_went_away() -> None:
    """Else a worker that owns it now and then would keep each key that ever waited there."""
    scene = Scene()
    first = scene.job(0)
    scene.lanes.add([first, scene.job(1), scene.job(2, b"other")])
    scene.finish(first, failed())
    scene.lanes.drop([scene.main, scene.tier])
    for record in scene.ready:
        scene.lanes.free(record)
    assert (scene.lanes._lanes, scene.lanes._awaited) == ({}, {})
