"""A seed is one plan: the same jobs and the same faults at the same moments, each time."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from chaos.judging.reruns import SETTLE_S
from chaos.plan import FAULT_WEIGHTS, JOB_MIX, KILLING_IN, JobPlans, make_plan, queue_of
from chaos.stage import MAX_UNSETTLED

RELIABILITY = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_a_seed_makes_one_plan_and_another_seed_another() -> None:
    """Jobs and faults follow from the seed alone."""
    assert make_plan(7, 10_000, 30) == make_plan(7, 10_000, 30)
    assert make_plan(7, 10_000, 30) != make_plan(8, 10_000, 30)
    jobs = [JobPlans(7).of(number) for number in range(500)]
    assert jobs == [JobPlans(7).of(number) for number in range(500)]
    assert jobs != [JobPlans(8).of(number) for number in range(500)]


def test_faults_come_in_order_within_the_run_and_each_kind_has_its_turn() -> None:
    """They ascend, end before the jobs do, and no kind is left out where there are enough."""
    plan = make_plan(1, 100_000, 200)
    moments = [fault.after for fault in plan.faults]
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 97_000
    assert {fault.kind for fault in plan.faults} == set(FAULT_WEIGHTS)


def test_jobs_come_in_their_shares() -> None:
    """Of 100,000 jobs each kind has its share, give or take what chance does; strict ones always have a key."""
    jobs = [JobPlans(3).of(number) for number in range(100_000)]
    counts = Counter(job.kind for job in jobs)
    assert sum(JOB_MIX.values()) == pytest.approx(1)
    for kind, share in JOB_MIX.items():
        assert counts[kind] == pytest.approx(share * len(jobs), rel=0.2, abs=25)
    assert counts["killing"] == 1 + (len(jobs) - 1_251) // KILLING_IN
    assert all(job.key is not None for job in jobs if queue_of(job.kind) == "strict")


def test_in_each_queue_jobs_wait_behind_long_ones_of_their_key_and_others_for_a_time() -> None:
    """What blocks and what waits behind it share a key of their own; what is due later has no key of either."""
    jobs = [JobPlans(3).of(number) for number in range(100_000)]
    for queue, prefix in (("steady", ""), ("strict", "strict_")):
        slow = [job for job in jobs if job.key == f"{queue}-slow"]
        assert {job.kind for job in slow} == {f"{prefix}blocking", f"{prefix}behind"}
        assert all(20_000 <= job.how < 40_000 for job in slow if job.kind == f"{prefix}blocking")
    delayed = [job for job in jobs if job.kind == "delayed"]
    assert all(20_000 <= job.how < 60_000 and job.key is not None and "later" in job.key for job in delayed)


def test_the_document_has_each_fault() -> None:
    """docs/reliability.md explains what each kind of fault does, and no other."""
    rows = RELIABILITY.split("\n| fault | what happens |\n", 1)[1].split("\n\n", 1)[0].splitlines()
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert named == set(FAULT_WEIGHTS)


def test_the_document_has_how_many_runs_a_fault_may_explain() -> None:
    """A reader judges by it whether a run again may hide a fault of the worker."""
    assert f"among the last {MAX_UNSETTLED:,} jobs of its queue" in RELIABILITY
    assert f"had ended within {SETTLE_S:g} s before" in RELIABILITY
