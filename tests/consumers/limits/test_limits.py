"""Limits: records wait where there is no room, in their order, and hold up nobody else."""

from __future__ import annotations

import time

import pytest

from stoker.consumers.gates.gate_row import Beginning
from stoker.consumers.limits.scope import PATIENCE_S
from stoker.consumers.progress.assignment import Assignment
from stoker.topology import Concurrency, Rate
from support.scenes.limiting import EPOCH_S, SECOND, WINDOW_S
from support.scenes.limiting import LimitedScene as Scene


def test_a_rate_lets_so_many_begin_and_then_the_next_when_there_is_room() -> None:
    """Three of each tenant a second, in the order in which they came; the other tenant is not held up."""
    scene = Scene([Rate(3, per=SECOND, by="tenant")])
    scene.come(*range(10))
    scene.come(20, 21, tenant="zeta")
    assert scene.begun == [0, 1, 2, 20, 21]
    (why,) = scene.row.view.whys()
    assert why.state == "limited"
    assert why.detail["ends_by"] == "room in limit q.rate.tenant for 'acme' (3/1s by tenant)"
    scene.pass_s(WINDOW_S)
    assert scene.begun[5:] == [3, 4, 5]
    scene.pass_s(2 * WINDOW_S)
    assert scene.begun[5:] == [3, 4, 5, 6, 7, 8, 9]
    scene.pass_s(WINDOW_S)
    assert (scene.row.view.count, bool(scene.row), scene.row.next_at_s) == (0, False, None), "the gate rests again"


def test_what_comes_later_does_not_pass_what_waits() -> None:
    """There is room for it, but others have waited for it before."""
    scene = Scene([Rate(2, per=SECOND, by="tenant")], runs=False)
    scene.come(0, 1, 2, 3)
    scene.run_ready()
    assert scene.begun == [0, 1]
    scene.pass_s(WINDOW_S)
    scene.come(4)
    scene.run_ready()
    assert scene.begun == [0, 1, 2, 3]


def test_a_slot_is_free_for_the_next_as_soon_as_a_run_ends() -> None:
    """No clock is asked."""
    scene = Scene([Concurrency(2, by="key")])
    scene.come(0, 1, 2, 3, 4, key="a")
    scene.come(9, key="b")
    assert scene.begun == [0, 1, 9]
    scene.end(0)
    assert scene.begun == [0, 1, 9, 2]
    scene.end(1, 2)
    assert scene.begun == [0, 1, 9, 2, 3, 4]
    scene.end(3, 4, 9)
    scene.pass_s(PATIENCE_S)
    assert (scene.row.view.count, bool(scene.row)) == (0, False)


def test_all_limits_hold_at_once() -> None:
    """What one limit holds back does not count in the other."""
    scene = Scene([Rate(3, per=SECOND, by="tenant")], of_type=[Concurrency(1, by="key")])
    scene.come(0, 1, key="a")
    scene.come(2, 3, 4, key=None)
    assert scene.begun == [0, 2, 3], "a job without a key has no limit by key"
    scene.end(0)
    assert scene.begun == [0, 2, 3], "now the tenant's rate holds it"
    scene.pass_s(WINDOW_S)
    assert sorted(scene.begun) == [0, 1, 2, 3, 4]


def test_a_costly_job_waits_for_room_for_all_of_it_and_is_not_passed() -> None:
    """It would wait for ever while cheap ones take what becomes free."""
    scene = Scene([Rate(10, per=SECOND, by="tenant")], cost=2)
    scene.come(0, 1, 2)
    scene.come(3, cost=9)
    scene.come(4, 5)
    assert scene.begun == [0, 1, 2], "six of ten are used"
    scene.pass_s(WINDOW_S)
    assert scene.begun == [0, 1, 2, 3]
    scene.pass_s(WINDOW_S)
    assert scene.begun == [0, 1, 2, 3, 4, 5]


def test_a_cost_in_the_header_is_that_of_one_job_alone() -> None:
    """Others of its type, tenant and key count as declared."""
    scene = Scene([Rate(10, per=SECOND, by="tenant")], cost=2)
    scene.come(0)
    scene.come(1, cost=5)
    scene.come(2, 3)
    assert scene.begun == [0, 1, 2], "nine of ten are used"


def test_a_job_that_costs_more_than_the_limit_has_all_of_it() -> None:
    """It begins alone."""
    scene = Scene([Rate(10, per=SECOND, by="tenant")])
    scene.come(0, cost=500)
    scene.come(1)
    assert scene.begun == [0]
    scene.pass_s(WINDOW_S)
    assert scene.begun == [0, 1]


def test_a_released_record_that_never_begins_holds_up_the_others_for_a_moment_only() -> None:
    """Such as one that another gate holds back: nobody tells this one."""
    scene = Scene([Concurrency(1, by="tenant")])
    scene.come(0, 1, 2)
    scene.runs = False
    scene.end(0)
    assert [record.offset for record in scene.ready] == [1]
    scene.ready.clear()
    scene.runs = True
    scene.pass_s(PATIENCE_S / 2)
    assert scene.begun == [0]
    scene.pass_s(PATIENCE_S)
    assert scene.begun == [0, 2]


def test_a_new_owner_takes_rates_for_used_up() -> None:
    """The owner before may have begun as many just now; permits are free, since its runs are over."""
    scene = Scene([Rate(3, per=SECOND, by="tenant"), Concurrency(2, by="key")])
    scene.row.begin_assignment(scene.assignment)
    scene.come(0, 1, key="a")
    assert scene.begun == []
    scene.pass_s(WINDOW_S)
    assert scene.begun == [0, 1]


def test_a_partition_that_begins_anew_here_keeps_what_was_counted() -> None:
    """The owner has not changed."""
    scene = Scene([Rate(3, per=SECOND, by="tenant")])
    scene.come(0)
    anew = Assignment(2, scene.assignment.topic, 0, keeps_order=False)
    anew.replace(scene.assignment)
    scene.assignment = anew
    scene.row.begin_assignment(anew)
    scene.come(1, 2, 3)
    assert scene.begun == [0, 1, 2]


def test_lanes_that_wait_aside_come_back_as_there_is_room() -> None:
    """No more of them than may begin: each is read again."""
    scene = Scene([Rate(2, per=SECOND, by="tenant")])
    scene.come(*range(6))
    scene.row.aside.note_leaving(lambda _record: True)
    assert [record.offset for record in scene.row.aside.set_aside(lambda _record: True)] == [2, 3, 4, 5]
    scene.pass_s(WINDOW_S)
    assert len(scene.row.aside.take_released(10)) == 2
    scene.come(2, 3, 4)
    assert scene.begun == [0, 1, 2, 3], "so many pass as were to come back"


def test_a_record_that_asks_more_than_once_takes_one_turn() -> None:
    """The dispatch and the runner ask both: the second answer takes nothing from the lanes that are on their way."""
    scene = Scene([Rate(2, per=SECOND, by="tenant")], runs=False)
    scene.come(0, 1, 2, 3)
    scene.run_ready()
    scene.row.aside.note_leaving(lambda _record: True)
    scene.row.aside.set_aside(lambda _record: True)
    scene.pass_s(WINDOW_S)
    assert len(scene.row.aside.take_released(10)) == 2
    scene.come(2)
    assert [scene.row.admits(scene.records[2]) for _ in range(3)] == [True] * 3
    scene.come(3)
    scene.run_ready()
    assert scene.begun == [0, 1, 2, 3]


def lane_on_its_way(offset: int) -> Scene:
    """A lane that waits aside may go on, and does not come back: its partition is given away, say."""
    scene = Scene([Rate(2, per=SECOND, by="tenant")])
    scene.come(0, 1, offset)
    scene.row.aside.note_leaving(lambda _record: True)
    assert [record.offset for record in scene.row.aside.set_aside(lambda _record: True)] == [offset]
    scene.pass_s(WINDOW_S)
    assert len(scene.row.aside.take_released(10)) == 1
    return scene


def test_a_scope_is_not_looked_at_without_end_for_a_lane_that_does_not_come_back() -> None:
    """There is room, and nothing to release: the poll thread would turn without a pause for a second, or a minute."""
    scene = lane_on_its_way(2)
    scene.turns = 0
    scene.pass_s(3 * PATIENCE_S)
    assert (scene.turns <= 3, scene.row.next_at_s) == (True, None)


def test_what_comes_while_a_lane_is_on_its_way_waits_for_room_alone() -> None:
    """The first has the place of that lane, and the second there is room for."""
    scene = lane_on_its_way(2)
    scene.come(3, 4)
    scene.pass_s(0.01)
    assert scene.begun == [0, 1, 3, 4]


def test_a_place_is_free_again_though_the_record_that_began_in_its_stead_was_released_long_before() -> None:
    """Its release was given up when it had not begun for a while; then it begins after all."""
    scene = Scene([Rate(2, per=SECOND, by="tenant")])
    scene.come(0, 1)
    scene.runs = False
    scene.come(2)
    scene.run_ready()
    scene.pass_s(WINDOW_S)
    (late,) = scene.ready
    scene.ready.clear()
    scene.pass_s(PATIENCE_S)
    scene.come(3, 4, 5)
    scene.run_ready()
    scene.row.aside.note_leaving(lambda _record: True)
    scene.row.aside.set_aside(lambda _record: True)
    scene.pass_s(WINDOW_S)
    assert len(scene.row.aside.take_released(10)) == 1
    assert scene.row.begin(late) is Beginning.BEGINS
    scene.turns = 0
    scene.pass_s(3 * PATIENCE_S)
    assert (scene.turns <= 3, scene.row.next_at_s) == (True, None)


def test_the_release_of_many_takes_time_in_proportion() -> None:
    """The gates' lock is held meanwhile; a sum over all released ones for each would take some 4 s of this thread."""
    scene = Scene([Rate(40_000, per=SECOND, by="tenant")], runs=False)
    scene.come(*range(80_000))
    scene.run_ready()
    assert scene.row.view.count == 40_000
    began_at_s = time.thread_time()
    scene.pass_s(WINDOW_S)
    assert time.thread_time() - began_at_s < 1.0
    assert len(scene.ready) == 40_000


def test_idle_scopes_are_forgotten() -> None:
    """A million keys would stay in memory else."""
    scene = Scene([Rate(3, per=SECOND, by="tenant")])
    for number in range(1_200):
        scene.come(number, tenant=f"tenant-{number}")
    scene.now_s += 2.0
    scene.row.ask_again()
    (keeper,) = scene.gate._all.values()
    assert len(scene.begun) == 1_200
    assert not keeper.scopes
    scene.come(2_000, tenant="tenant-1")
    assert len(keeper.scopes) == 1, "a record of a forgotten tenant has a scope again, which a takeover finds"


def test_a_queue_without_limits_pays_nothing() -> None:
    """No gate is asked, at the first look or at the last."""
    scene = Scene([])
    assert (scene.row.asked, scene.row.asked_last, scene.row.has_hooks) == ((), (), False)


def test_a_job_that_was_refused_holds_the_scopes_of_its_type_for_so_long() -> None:
    """Others of its tenant wait; other tenants, and other jobs of the queue's own limits, go on."""
    scene = Scene([Rate(9, per=SECOND, by="tenant")], of_type=[Rate(5, per=SECOND, by="tenant")])
    scene.come(0)
    scene.row.hold_until(scene.records[0], scene.now_s + EPOCH_S + 3.0)
    scene.end(0)
    scene.come(1, 2)
    scene.come(3, tenant="zeta")
    assert scene.begun == [0, 3]
    (why,) = scene.row.view.whys()
    assert why.detail["ends_by"] == "room in limit work.rate.tenant for 'acme' (5/1s by tenant)"
    scene.pass_s(2.9)
    assert scene.begun == [0, 3]
    scene.pass_s(0.2)
    assert scene.begun == [0, 3, 1, 2]


def test_a_type_without_limits_is_held_itself() -> None:
    """In this process, without limits of the queue being held for other types."""
    scene = Scene([])
    scene.come(0)
    scene.row.hold_until(scene.records[0], scene.now_s + EPOCH_S + 3.0)
    scene.come(1, 2)
    assert scene.begun == [0]
    assert {why.state for why in scene.row.view.whys()} == {"limited"}
    scene.pass_s(2.9)
    assert scene.begun == [0]
    scene.pass_s(0.2)
    assert (scene.begun, bool(scene.row)) == ([0, 1, 2], False)


def test_a_job_that_ends_without_beginning_gives_its_turn_to_the_next_at_once() -> None:
    """Such as one that has expired: a thousand of them would each hold up the others for up to a minute."""
    scene = Scene([Concurrency(1, by="tenant")])
    scene.come(*range(50))
    scene.expired = set(range(1, 49))
    scene.end(0)
    assert scene.begun == [0, 49]
    scene.end(49)
    scene.pass_s(PATIENCE_S)
    (keeper,) = scene.gate._all.values()
    assert [scope.is_idle(scene.now_s) for scope in keeper.scopes.values()] == [True], "it keeps none of them"


def test_a_type_without_limits_is_held_as_long_as_any_of_its_jobs_has_asked() -> None:
    """A second refusal, of a job that ran already, names a shorter time: the first one holds all the same."""
    scene = Scene([])
    scene.come(0, 1)
    scene.row.hold_until(scene.records[0], scene.now_s + EPOCH_S + 60.0)
    scene.row.hold_until(scene.records[1], scene.now_s + EPOCH_S + 1.0)
    scene.pass_s(2.0)
    scene.come(2)
    assert scene.begun == [0, 1]
    scene.pass_s(60.0)
    assert scene.begun == [0, 1, 2]


def test_nothing_is_reported_as_held_where_no_limit_of_the_type_counts_the_job(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log named the whole type, whose jobs went on."""
    scene = Scene([], of_type=[Rate(5, per=SECOND, by="key")])
    scene.come(0)
    with caplog.at_level("INFO"):
        scene.row.hold_until(scene.records[0], scene.now_s + EPOCH_S + 3.0)
    scene.end(0)
    scene.come(1)
    assert (scene.begun, caplog.messages) == ([0, 1], [])


def test_a_scope_is_forgotten_though_a_record_that_it_released_went_away_with_its_partition() -> None:
    """Each rebalance would leave some behind for good, with their records."""
    scene = Scene([Concurrency(1, by="tenant")])
    scene.come(0, 1)
    scene.runs = False
    scene.end(0)
    assert [record.offset for record in scene.ready] == [1]
    (keeper,) = scene.gate._all.values()
    scene.pass_s(3 * PATIENCE_S)
    assert not all(scope.is_idle(scene.now_s) for scope in keeper.scopes.values()), "it may begin yet"
    scene.assignment.leave()
    assert all(scope.is_idle(scene.now_s) for scope in keeper.scopes.values())
