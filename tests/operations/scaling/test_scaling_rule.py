"""One look at a queue gives the workers it needs, what bounds it and why; where it knows too little, all stays."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stoker.operations.scaling.load import LimitAdmission, QueueLoad, ScalingPolicy, target_wait_of
from stoker.operations.scaling.rule import Bound, recommend
from stoker.operations.scaling.scale_health import Watching
from stoker.operations.scaling.scaler import Scaler, recommend_once
from stoker.operations.scaling.text import samples_of, scale_document, scale_lines
from stoker.topology import Pipeline, Slo

pytestmark = pytest.mark.timeout(60)

POLICY = ScalingPolicy()
CALM = QueueLoad(
    queue="mails", at_s=0.0, partitions=12, backlog=16, arriving_per_s=32.0, done_per_s=32.0, workers=3,
    runners=8.0, busy=16, run_s=0.5,
)  # fmt: skip
"""A worker does 8 / 0.5 s = 16 jobs/s, so 32 / 0.8 / 16 = 2.5 workers are needed."""


@pytest.mark.parametrize(
    ("changed", "wanted", "bound"),
    [
        ({}, 3, Bound.NOTHING),
        ({"workers": 1}, 3, Bound.RUNNERS),
        # 320 / 0.8 / 16 = 25
        ({"arriving_per_s": 320.0}, 12, Bound.PARTITIONS),
        # (6,176 - 16 run - 160 may wait) / 120 s = 50/s, beside 32/s that come: 82 / 16 = 5.1
        ({"backlog": 6_176}, 6, Bound.RUNNERS),
        # 8 / 100 us would be 80,000/s, and a process does 20,000/s at the most
        ({"run_s": 1e-4, "arriving_per_s": 40_000.0}, 3, Bound.NOTHING),
        ({"run_s": 1e-4, "arriving_per_s": 80_000.0}, 5, Bound.CPU),
        # jobs wait, a third of the runners is busy: a worker does what these did, 30/3 = 10/s; 90 / 0.8 / 10 = 11.3
        ({"run_s": 0.2, "backlog": 500, "busy": 8, "done_per_s": 30.0, "arriving_per_s": 90.0}, 12, Bound.CPU),
        # 40/s pass: 40 / 0.8 / 16 = 3.1
        ({"arriving_per_s": 320.0, "admissions": (LimitAdmission(limit="api", per_s=40.0),)}, 4, Bound.LIMIT),
        # 10 may run, each for 0.5 s: 20/s pass, 20 / 0.8 / 16 = 1.6
        ({"arriving_per_s": 320.0, "admissions": (LimitAdmission(limit="db", running=10),)}, 2, Bound.LIMIT),
        ({"backlog": 900, "not_runnable": {"limited": 880}}, 3, Bound.LIMIT),
        ({"backlog": 900, "not_runnable": {"key": 890}, "busy": 1}, 3, Bound.KEY),
        ({"backlog": 900, "not_runnable": {"paused": 890}, "busy": 0}, 3, Bound.HELD),
        ({"trouble": "its group is assigning partitions", "backlog": 9_000}, 3, Bound.UNKNOWN),
        ({"backlog": None}, 3, Bound.UNKNOWN),
        ({"arriving_per_s": None}, 3, Bound.UNKNOWN),
        ({"workers": None}, None, Bound.UNKNOWN),
        # nothing ever ended, all runners are busy, jobs wait: half as many again
        ({"run_s": None, "done_per_s": 0.0, "busy": 24, "backlog": 500}, 5, Bound.RUNNERS),
        ({"run_s": None, "done_per_s": 0.0, "busy": None, "backlog": 500}, 3, Bound.UNKNOWN),
        ({"workers": 0, "run_s": None, "busy": None, "runners": None, "backlog": 500}, 1, Bound.RUNNERS),
        ({"backlog": 0, "arriving_per_s": 0.0, "done_per_s": 0.0, "busy": 0, "later": 7}, 1, Bound.NOTHING),
    ],
)  # fmt: skip
def test_it_wants_as_many_workers_as_the_arithmetic_says(
    changed: dict[str, Any], wanted: int | None, bound: Bound
) -> None:
    """The arithmetic stands beside each case."""
    found = recommend(replace(CALM, **changed), POLICY)
    assert (found.wanted, found.bound_by) == (wanted, bound), found.reason
    assert found.reason


def test_no_worker_at_all_is_wanted_only_where_allowed_and_nothing_waits() -> None:
    """Delayed jobs and schedules need a worker too, since workers keep their times."""
    idle = replace(CALM, backlog=0, arriving_per_s=0.0, done_per_s=0.0, busy=0)
    to_zero = replace(POLICY, minimum=0)
    assert recommend(idle, to_zero).wanted == 0
    assert recommend(idle, POLICY).wanted == 1
    assert recommend(replace(idle, later=1), to_zero).wanted == 1
    assert (
        recommend(replace(idle, schedules=2), to_zero).reason
        == "no job waits, and none comes, but 2 schedules fire here"
    )
    assert recommend(replace(idle, schedules=2), to_zero).wanted == 1
    assert recommend(replace(idle, backlog=1), to_zero).wanted == 1


def test_one_look_goes_down_by_a_quarter_at_the_most_and_not_while_jobs_are_late() -> None:
    """Twelve workers where three would do: nine; with a job that waits for too long: twelve."""
    many = replace(CALM, workers=12, backlog=40)
    assert recommend_once(many, POLICY).wanted == 9
    assert recommend_once(replace(many, oldest_s=60.0), POLICY).wanted == 12
    assert recommend_once(replace(many, arriving_per_s=None), POLICY).wanted == 12


def test_a_scaler_without_memory_keeps_the_workers_that_it_finds() -> None:
    """A process that was killed and started again wants no fewer workers, until it has watched for long enough."""
    many = replace(CALM, workers=12)
    scaler = Scaler(POLICY)
    wanted = [scaler.look(replace(many, at_s=at_s)).wanted for at_s in (0.0, 150.0, 299.0, 300.0, 330.0, 361.0)]
    assert wanted == [12, 12, 12, 9, 9, 7]


def test_a_queue_that_promises_a_wait_has_it_as_its_target() -> None:
    """Without a promise, or with one of runs alone, it is 5 s."""
    pipeline = Pipeline("promises")
    promised = pipeline.queue("reports", slo=Slo(wait=timedelta(minutes=2)))
    others = (pipeline.queue("mails"), pipeline.queue("bills", slo=Slo(run=timedelta(seconds=9))))
    assert target_wait_of(promised) == timedelta(minutes=2)
    assert {target_wait_of(queue) for queue in others} == {timedelta(seconds=5)}


def test_the_minimum_and_the_maximum_hold() -> None:
    """Whatever the load; the maximum is named as what bounds the queue."""
    policy = replace(POLICY, minimum=5, maximum=8)
    assert recommend(CALM, policy).wanted == 5
    most = recommend(replace(CALM, arriving_per_s=320.0), policy)
    assert (most.wanted, most.bound_by) == (8, Bound.MAXIMUM)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"target_wait": timedelta(0)}, "target_wait"),
        ({"minimum": 3, "maximum": 2}, "maximum must be 3 or more"),
        ({"use": 0.0}, "use"),
        ({"most_down": 2.0}, "most_down"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(wrong: dict[str, Any], named: str) -> None:
    """With the name of the field, and what it may be."""
    with pytest.raises(ValueError, match=named):
        ScalingPolicy(**wrong)


def test_a_backlog_that_does_not_shrink_is_never_gone() -> None:
    """For people `never`, for JSON null beside `is_shrinking`, for Prometheus +Inf."""
    found = recommend(replace(CALM, arriving_per_s=320.0, backlog=5_000), POLICY)
    assert "never" in "\n".join(scale_lines([found], [POLICY]))
    document = scale_document(found, POLICY)
    assert (document["eta_s"], document["is_shrinking"]) == (None, False)
    values = {sample.metric.name: sample.value for sample in samples_of([found])}
    assert values == {"stoker_workers_wanted": 12.0, "stoker_backlog_eta_seconds": math.inf}


def test_metrics_stay_and_readiness_goes_when_nothing_is_seen_any_more() -> None:
    """A queue that was never seen has no metric: whoever scales by it changes nothing."""
    now_s = [0.0]
    watching = Watching([POLICY], 60.0, lambda: now_s[0])
    assert (watching.samples(), watching.ready().is_well) == ([], False)
    watching.look([replace(CALM, workers=None)])
    assert watching.samples() == []
    watching.look([CALM])
    assert (len(watching.samples()), watching.ready().is_well) == (2, True)
    now_s[0] = 61.0
    assert (len(watching.samples()), watching.ready().is_well, watching.live().is_well) == (2, False, True)
