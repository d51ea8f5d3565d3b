"""What the doctor finds of control: workers that miss orders, do not understand them, or say nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.operations.cluster_view import ConsumerGroup, Member
from stoker.operations.doctor.control_checks import check_workers
from stoker.operations.doctor.findings import Verdict
from stoker.producers.control.answers import LastStatus
from stoker.schemas.own_records.control_records import QueueShare, WorkerState, WorkerStatus
from stoker.topology import Pipeline

NOW_S = 1_000_000.0
PIPELINE = Pipeline("shop")
MAILS = PIPELINE.queue("mails")
AT = datetime.fromtimestamp(NOW_S, UTC)
STATUS = WorkerStatus(
    id="w1",
    host="web-1",
    pid=7,
    version="1.0",
    state=WorkerState.RUNNING,
    started_at=AT,
    at=AT,
    queues=(QueueShare(queue="mails", partitions=(0,), busy=0, runners=1),),
    memory_bytes=0,
    control_offset=3,
    control_age_s=1.0,
)


def seen(silent_s: float = 1.0, **changes: Any) -> LastStatus:
    """The last status of a worker."""
    return LastStatus(status=replace(STATUS, **changes), last_seen_at_s=NOW_S - silent_s)


def groups(members: int) -> dict[str, ConsumerGroup]:
    """The group of the queue, with so many workers."""
    found = tuple(Member(client_id=f"w{number}", host="h", partitions=1) for number in range(members))
    return {MAILS.group: ConsumerGroup(name=MAILS.group, state="stable", protocol="consumer", members=found)}


@pytest.mark.parametrize(
    ("one", "verdict", "observed"),
    [
        pytest.param(seen(control_age_s=40.0), Verdict.BROKEN, "knows the orders of 40 s ago", id="stale"),
        pytest.param(seen(not_understood=2), Verdict.BROKEN, "does not understand 2 orders", id="older version"),
        pytest.param(seen(silent_s=90.0), Verdict.UNKNOWN, "wrote its last status 90 s ago", id="silent"),
    ],
)
def test_a_worker_that_may_miss_orders_is_found(one: LastStatus, verdict: Verdict, observed: str) -> None:
    """With its name."""
    (finding,) = check_workers(PIPELINE, groups(0), [one], NOW_S)
    assert (finding.guarantee, finding.verdict) == ("P13", verdict)
    assert finding.observed.startswith("worker w1 ")
    assert observed in finding.observed


def test_nothing_is_found_of_workers_that_are_well_or_gone() -> None:
    """One that is gone may be silent for ever."""
    gone = seen(silent_s=900.0, state=WorkerState.GONE, pid=8)
    assert list(check_workers(PIPELINE, groups(1), [seen(), gone], NOW_S)) == []


def test_workers_without_a_status_are_found() -> None:
    """Those of an older release take no orders, and have partitions all the same."""
    (finding,) = check_workers(PIPELINE, groups(3), [seen()], NOW_S)
    assert (finding.place, finding.verdict) == ("mails", Verdict.BROKEN)
    assert finding.observed == "2 of 3 workers write no status, so they take no orders"
