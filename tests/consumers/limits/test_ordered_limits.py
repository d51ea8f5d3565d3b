"""Limits that orders change while windows run: what has begun counts on, and what waits goes on as soon as it may."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.control.limit_orders import LimitOrders
from stoker.consumers.control.orders import Orders
from stoker.consumers.meters.meter_kinds import make_meter
from stoker.schemas.own_records.control_records import ControlOrder
from stoker.topology import Concurrency, Rate
from stoker.topology.declaration.limits import Limit, changed
from stoker.topology.wire.orders import LIMIT, LimitChange, Verb, in_words, order_key
from support.scenes.control_messages import given as record_of_order
from support.scenes.control_messages import lifted as lifting_record
from support.scenes.limiting import SECOND, WINDOW_S
from support.scenes.limiting import LimitedScene as Scene
from support.scenes.sharing import SharingWorld

NAME = "q.rate.tenant"
WINDOW = Rate(3, per=SECOND, by="tenant")
RATE = Rate(100, per=SECOND, name="q.limit")
BUCKET = Rate(60, per=2 * SECOND, burst=10, name="q.limit")
PERMITS = Concurrency(10, name="q.limit")


def order(change: LimitChange, name: str = NAME, until: datetime | None = None) -> ControlOrder:
    """An order by ann."""
    return ControlOrder(
        order_id="1",
        verb=Verb.LIMIT,
        operator="ann",
        host="web-1",
        at=datetime(2013, 1, 31, tzinfo=UTC),
        until=until,
        reason="they are slow",
        detail={LIMIT: name, **change.detail},
    )


def test_a_lower_count_holds_at_once_with_what_has_begun() -> None:
    """The order falls in the middle of a window that holds two."""
    scene = Scene([WINDOW])
    scene.come(0, 1)
    scene.pass_s(0.5)
    scene.gate.change(NAME, Rate(2, per=SECOND, by="tenant"), is_lifted=False)
    scene.come(2, 3, 4)
    assert scene.begun == [0, 1]
    (why,) = scene.row.view.whys()
    assert why.detail["ends_by"] == "room in limit q.rate.tenant for 'acme' (2/1s by tenant, by order)"
    scene.pass_s(0.6)
    assert scene.begun == [0, 1, 2, 3]


def test_a_higher_count_lets_go_on_what_waits() -> None:
    """At once, and nothing is to come."""
    scene = Scene([WINDOW])
    scene.come(*range(10))
    assert scene.begun == [0, 1, 2]
    scene.gate.change(NAME, Rate(8, per=SECOND, by="tenant"), is_lifted=False)
    assert scene.begun == list(range(8))


def test_a_costly_job_costs_more_by_a_higher_count() -> None:
    """By the lower one it cost all of the limit; jobs like it were counted before the order."""
    scene = Scene([WINDOW], cost=5)
    scene.come(0)
    scene.gate.change(NAME, Rate(12, per=SECOND, by="tenant"), is_lifted=False)
    scene.come(1, 2)
    assert scene.begun == [0, 1], "three and five are used, of twelve"


def test_a_longer_window_holds_what_the_shorter_one_remembers() -> None:
    """The three that began just now; those of a minute ago are forgotten."""
    scene = Scene([WINDOW])
    scene.come(0, 1, 2)
    scene.gate.change(NAME, Rate(3, per=20 * SECOND, by="tenant"), is_lifted=False)
    scene.come(3)
    scene.pass_s(19.9)
    assert scene.begun == [0, 1, 2]
    scene.pass_s(0.5)
    assert scene.begun == [0, 1, 2, 3]


def test_a_lifted_limit_holds_nothing_back_and_counts_on() -> None:
    """Once it holds again, the windows are full of what has begun meanwhile."""
    scene = Scene([WINDOW, Concurrency(2, by="key")])
    scene.come(*range(5))
    scene.gate.change(NAME, WINDOW, is_lifted=True)
    assert scene.begun == [0, 1, 2, 3, 4]
    scene.come(*range(5, 30))
    assert scene.begun == list(range(30))
    scene.gate.change(NAME, WINDOW, is_lifted=False)
    scene.come(30, 31, 32, 33)
    assert scene.begun == list(range(30))
    scene.pass_s(WINDOW_S)
    assert scene.begun == list(range(33))


def test_a_lifted_limit_is_still_held_by_a_refusal() -> None:
    """The other side has said so, whatever the limit."""
    scene = Scene([], of_type=[WINDOW])
    scene.gate.change("work.rate.tenant", WINDOW, is_lifted=True)
    scene.come(0)
    scene.row.hold_until(scene.records[0], scene.row._clock() + 2.0)
    scene.come(1)
    assert scene.begun == [0]
    scene.pass_s(2.1)
    assert scene.begun == [0, 1]


def test_a_new_owner_takes_the_changed_limit_for_used_up() -> None:
    """The owner before, which was killed, may have begun as many."""
    scene = Scene([WINDOW])
    scene.gate.change(NAME, Rate(5, per=SECOND, by="tenant"), is_lifted=False)
    scene.row.begin_assignment(scene.assignment)
    scene.come(*range(9))
    assert scene.begun == []
    scene.pass_s(0.5)
    scene.gate.change(NAME, Rate(4, per=SECOND, by="tenant"), is_lifted=False)
    scene.pass_s(0.4)
    assert scene.begun == []
    scene.pass_s(0.2)
    assert scene.begun == [0, 1, 2, 3]


def test_slots_that_are_fewer_become_free_before_others_begin() -> None:
    """Those that run go on."""
    scene = Scene([Concurrency(3, by="tenant")])
    scene.come(0, 1, 2, 3, 4, 5)
    scene.gate.change("q.concurrency.tenant", Concurrency(1, by="tenant"), is_lifted=False)
    scene.end(0, 1)
    assert scene.begun == [0, 1, 2]
    scene.end(2)
    assert scene.begun == [0, 1, 2, 3]
    scene.gate.change("q.concurrency.tenant", Concurrency(2, by="tenant"), is_lifted=False)
    assert scene.begun == [0, 1, 2, 3, 4]


@given(
    before=st.integers(1, 9),
    after=st.integers(1, 9),
    per_s=st.sampled_from([0.5, 1.0, 2.0]),
    at_s=st.floats(0.0, 3.0),
    steps=st.lists(st.floats(0.0, 0.4), min_size=1, max_size=80),
)
def test_no_window_from_the_order_on_holds_too_many(
    before: int, after: int, per_s: float, at_s: float, steps: list[float]
) -> None:
    """Nor does one that the order falls into hold more than both allow: an account of its own."""
    meter = make_meter(Rate(before, per=SECOND))
    now_s, begun, is_changed = 1_000.0, list[float](), False
    for step in steps:
        now_s += step
        if not is_changed and now_s >= 1_000.0 + at_s:
            meter.change(Rate(after, per=timedelta(seconds=per_s)), now_s)
            is_changed = True
        while meter.wait_s(1, now_s) == 0.0:
            meter.acquire(1, now_s)
            begun.append(now_s)
            if is_changed:
                remembered_s = min(per_s, max(1.0, now_s - 1_000.0 - at_s))
                assert sum(at >= now_s - remembered_s for at in begun) <= after
            else:
                assert sum(at > now_s - 1.0 for at in begun) <= before


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.floats(0.0, 2.0)), min_size=1, max_size=20))
def test_a_bucket_never_has_more_after_an_order_than_before_it(orders: list[tuple[int, int, float]]) -> None:
    """The room at the moment of the order is the smaller one of both, and at most the burst."""
    meter, now_s = make_meter(Rate(5, per=SECOND, burst=5)), 1_000.0
    for count, burst, step_s in orders:
        now_s += step_s
        room = meter.room(now_s)
        meter.change(Rate(count, per=SECOND, burst=burst), now_s)
        assert meter.room(now_s) <= min(room, burst)
        meter.acquire(max(0, meter.room(now_s) - count % 3), now_s)


def test_the_order_is_taken_and_ends() -> None:
    """Another one takes its place; one that is over, or lifted, leaves what is declared."""
    scene = Scene([WINDOW])
    now = [datetime(2013, 2, 1, tzinfo=UTC)]
    orders = Orders([LimitOrders([scene.gate], lambda: now[0])])
    in_force = next(iter(scene.gate._all.values())).in_force
    orders.take(record_of_order(order(LimitChange(count=7))))
    assert (in_force.limit, in_force.is_lifted) == (Rate(7, per=SECOND, by="tenant"), False)
    orders.take(record_of_order(order(LimitChange(per=2 * SECOND), until=now[0] + SECOND)))
    assert in_force.limit == Rate(3, per=2 * SECOND, by="tenant")
    now[0] += 2 * SECOND
    orders.carry_out()
    assert in_force.limit == WINDOW
    orders.take(record_of_order(order(LimitChange(is_lifted=True))))
    assert (in_force.limit, in_force.is_lifted) == (WINDOW, True)
    orders.take(lifting_record(order(LimitChange(is_lifted=True))))
    assert (in_force.limit, in_force.is_lifted) == (WINDOW, False)
    orders.take(record_of_order(order(LimitChange(count=7), "q.rate.other")))
    assert in_force.limit == WINDOW
    assert not orders.not_understood


@pytest.mark.parametrize(
    ("limit", "change", "why"),
    [
        (PERMITS, LimitChange(per=SECOND), "has a count alone"),
        (RATE, LimitChange(burst=3), "declared without burst="),
        (RATE, LimitChange(per=timedelta(days=2)), "per must be from"),
        (BUCKET, LimitChange(burst=0), "burst must be at least 1"),
    ],
)
def test_a_limit_cannot_be_changed_into_anything(limit: Limit, change: LimitChange, why: str) -> None:
    """What it has not got, or may not be, is refused."""
    with pytest.raises(ValueError, match=why):
        changed(limit, change)


def test_an_order_survives_the_wire() -> None:
    """Its key names the limit, its detail what changes; what cannot be read is still shown."""
    change = LimitChange(count=5, per=1.5 * SECOND, burst=9)
    assert LimitChange.of_order(order(change)) == change
    assert order_key(order(change)) == "limit/name/q.rate.tenant"
    assert in_words(order(change)) == "q.rate.tenant to count 5, per 1500ms, burst 9"
    assert in_words(order(LimitChange(is_lifted=True))) == "q.rate.tenant (lifted)"
    assert in_words(replace(order(change), detail={LIMIT: "a", "count": "x"})) == "a"


# ---- limits that several workers share

FLIGHT_S = 0.1
"""What was given before the order is on its way for so long."""


def play(limit: Limit, seed: int) -> None:
    """Orders fall in the middle of windows, each worker takes them when it does; workers are killed and frozen."""
    world = SharingWorld(limit, seed, workers_count=3, backlog=3_000)
    changes = [LimitChange(count=c) for c in (2, 30, 200)] + [LimitChange(is_lifted=True), LimitChange()]
    if isinstance(limit, Rate):
        changes += [LimitChange(per=timedelta(seconds=0.4)), LimitChange(count=50, per=3 * SECOND)]
    now = random.Random(seed)
    stretches: list[tuple[float, float, Limit | None]] = []
    running: list[tuple[float, int]] = []
    for _ in range(6):
        change = now.choice(changes)
        in_force = changed(limit, change)
        workers = [worker for worker in world.workers if worker.is_alive]
        for worker in now.sample(workers, len(workers)):
            worker.limits.change("q.limit", in_force, is_lifted=change.is_lifted)
            world.pass_s(now.uniform(0.0, 0.15))
        begin_s = world.log.now_s + FLIGHT_S
        world.pass_s(now.uniform(0.5, 2.0), lambda: running.append((world.log.now_s, world.running)))
        match now.randrange(3):
            case 0 if len(workers) > 1:
                world.kill(now.choice(workers))
            case 1:
                world.freeze(now.choice(workers), now.uniform(0.1, 2.0))
        world.pass_s(now.uniform(1.0, 4.0), lambda: running.append((world.log.now_s, world.running)))
        stretches.append((begin_s, world.log.now_s, None if change.is_lifted else in_force))
        thaw_s = max((worker.frozen_until_at_s for worker in workers), default=0.0) - world.log.now_s
        world.pass_s(max(0.0, thaw_s) + 0.02)
    for begin_s, end_s, kept in stretches:
        if kept is not None:
            check(world, begin_s, end_s, kept)


def check(world: SharingWorld, begin_s: float, end_s: float, kept: Limit) -> None:
    """No window that begins with the order holds too many; of permits, none begins while too many run."""
    if isinstance(kept, Concurrency):
        assert not [at_s for at_s, running in world.begun_beside if begin_s <= at_s < end_s and running > kept.count]
        return
    begun = [at_s for at_s in world.begun if begin_s <= at_s < end_s]
    per_s = kept.per.total_seconds()
    for number, at_s in enumerate(begun):
        most = max((n for n, last_s in enumerate(begun[number:], 1) if last_s - at_s < per_s), default=0)
        assert most <= (kept.count if kept.burst is None else kept.burst + kept.count)


@pytest.mark.parametrize("limit", [RATE, BUCKET, PERMITS], ids=["window", "bucket", "permits"])
@pytest.mark.parametrize("seed", [0, 1, 102, 113])
def test_shared_limits_hold_from_the_order_on(limit: Limit, seed: int) -> None:
    """Whoever is killed or frozen meanwhile."""
    play(limit, seed)


@pytest.mark.soak
@pytest.mark.parametrize("limit", [RATE, BUCKET, PERMITS], ids=["window", "bucket", "permits"])
def test_shared_limits_hold_in_many_plays(limit: Limit) -> None:
    """The same for long."""
    for seed in range(100, 180):
        play(limit, seed)


@pytest.mark.parametrize("limit", [RATE, PERMITS], ids=["window", "permits"])
def test_a_lifted_shared_limit_needs_nobody_that_gives(limit: Limit) -> None:
    """Jobs go on at once, also where partition 0 has no owner; afterwards they are counted."""
    world = SharingWorld(limit, seed=3, workers_count=2, backlog=400)
    world.owner = None
    world.pass_s(2.0)
    assert not world.begun
    for worker in world.workers:
        worker.limits.change("q.limit", limit, is_lifted=True)
    world.pass_s(2.0)
    assert len(world.begun) == 800


def test_a_changed_shared_limit_is_used() -> None:
    """Nine tenths of it when there is work."""
    world = SharingWorld(RATE, seed=5, workers_count=3, backlog=4_000)
    world.pass_s(2.0)
    for count in (20, 200, 100):
        for worker in world.workers:
            worker.limits.change("q.limit", Rate(count, per=SECOND, name="q.limit"), is_lifted=False)
        world.pass_s(1.5)
        before = len(world.begun)
        world.pass_s(10.0)
        assert 0.9 * 10 * count <= len(world.begun) - before <= 10 * count
    assert all(first <= second for first, second in pairwise(world.begun))
