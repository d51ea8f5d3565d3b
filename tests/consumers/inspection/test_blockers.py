"""A worker reports why a partition has not come further: each reason by its own word, and seldom enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoker.consumers.gates.gate import Wait
from stoker.consumers.inspection import blockers as module
from stoker.consumers.inspection.blockers import MOST_REPORTS, BlockerParts, Blockers
from stoker.consumers.isolation.crashes import CrashPause
from stoker.consumers.job.failure import describe_failure
from stoker.consumers.job.run import Run
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.progress.assignment import Assignment, Lane
from stoker.consumers.records.outcomes import Retried
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import Tier
from stoker.consumers.steps.schema_waits import AwaitedSchema
from stoker.schemas import decode_own
from stoker.schemas.own_records.job_events import JobBlocking, encode_event
from stoker.topology.declaration.job_type import RunLimits
from support.scenes.deliveries import NOW, TIERS, Delivery, declare

RETRIED = Retried(
    due=NOW + timedelta(seconds=1), tier=TIERS[0], next_attempt=2, failure=describe_failure("work", ValueError("x"))
)
NOW_S = 1_000.0
OLD_S = NOW_S - 6


@dataclass
class Scene:
    """What the parts of a worker tell, with lanes of its own."""

    delivery: Delivery
    lanes: KeyLanes | StrictLanes
    slots: list[Any] = field(default_factory=list)
    held: list[tuple[Record, float]] = field(default_factory=list)
    at_gate: dict[Record, Wait] = field(default_factory=dict)
    is_in_trouble: bool = False
    events: list[JobBlocking] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put a worker's parts in their places."""
        parts = BlockerParts(
            calendar=cast(Any, SimpleNamespace(holds=self._holds, find=self._find)),
            lanes=self.lanes,
            at_gates=cast(Any, SimpleNamespace(waiting=lambda: self.at_gate)),
            unbegun=cast(Any, SimpleNamespace()),
            watchdog=cast(Any, SimpleNamespace(slots=self.slots)),
            settler=cast(Any, self),
        )
        self.blockers = Blockers(
            self.delivery.queue, "w1", parts, cast(Any, SimpleNamespace(publish=self.events.append))
        )

    def _holds(self, assignment: Assignment, offset: int) -> bool:
        return (assignment, offset) in [(record.assignment, record.offset) for record, _ in self.held]

    def _find(self, lane: Lane) -> tuple[Record, float] | None:
        return next((found for found in self.held if found[0].lane == lane), None)

    def run(self, record: Record, *, is_stuck: bool = False) -> None:
        """Let a job run since ten seconds ago."""
        run = Run("job-1", "work", "q", 1, 3, record, NOW_S + 50, RunLimits(60.0, 60.0, 60.0))
        self.slots.append(SimpleNamespace(run=run, reported=run if is_stuck else None))

    def report(self, *lowest: Record, since_at_s: float = OLD_S, now_s: float = NOW_S) -> list[tuple[Any, ...]]:
        """Report these as the lowest of their partitions; what is reported."""
        self.events.clear()
        self.blockers.report({r.assignment: (r.offset, since_at_s) for r in lowest}, now_s)
        return [(event.reason, event.subject.offset, told(event)) for event in self.events]


def told(event: JobBlocking) -> dict[str, str]:
    """The detail, as it comes over the wire, without the time."""
    read = decode_own("JobEvent", encode_event(event))
    assert read["event"] == "blocking"
    return {name: text for name, text in read["detail"].items() if name not in {"since", "due"}}


def key_order() -> Scene:
    """A queue that keeps the order of keys."""
    return Scene(declare(), KeyLanes(lambda _records: None))


def strict_order() -> Scene:
    """A queue that keeps it through retries."""
    return Scene(declare(ordering="strict"), StrictLanes(lambda _records: None))


def test_a_run_is_reported_with_its_timeout() -> None:
    """Ten seconds of a minute: long, and healthy."""
    scene = key_order()
    record = scene.delivery.record()
    scene.run(record)
    assert scene.report(record) == [("running", 7, {"timeout_s": "60"})]
    assert (scene.events[0].subject.job_id, scene.events[0].worker) == ("job-1", "w1")


def test_a_stuck_job_is_reported_wherever_it_is() -> None:
    """Also where an earlier one is the lowest of its partition, and where nothing is old."""
    scene = key_order()
    scene.run(scene.delivery.record(offset=9), is_stuck=True)
    assert scene.report() == [("stuck", 9, {"timeout_s": "60"})]


@pytest.mark.parametrize("make", [key_order, strict_order])
def test_a_job_behind_another_one_of_its_key_names_that(make: Any) -> None:
    """It waits for a retry that runs, or in a lane that stands still for another reason."""
    scene = make()
    tier = Assignment(2, scene.delivery.queue.retry_topics[TIERS[0]], 0, source=Tier(TIERS[0]))
    ahead = scene.delivery.record({"ce_id": b"ahead"}, key=b"k", offset=3, assignment=tier)
    parked = scene.delivery.record(key=b"k")
    scene.lanes.add([ahead])
    scene.lanes.add([parked])
    assert scene.report(parked) == [("behind", 7, {})]
    scene.run(ahead)
    assert scene.report(parked, now_s=NOW_S + 5) == [("behind", 7, {"behind": "job-1"})]


def test_a_strict_key_names_the_retry_it_waits_for() -> None:
    """The tier is known from the outcome; job and due time once its record is here."""
    scene = strict_order()
    failing, parked = scene.delivery.record(key=b"k", offset=6), scene.delivery.record(key=b"k")
    scene.lanes.add([failing, parked])
    scene.lanes.expect(failing, RETRIED)
    scene.lanes.finish(failing, RETRIED)
    assert scene.report(parked) == [("awaiting-retry", 7, {"tier": "1s"})]
    tier = Assignment(2, scene.delivery.queue.retry_topics[TIERS[0]], 0, source=Tier(TIERS[0]))
    scene.held.append((scene.delivery.record(key=b"k", offset=0, assignment=tier), NOW.timestamp() + 1))
    expected = {"tier": "1s", "behind": "job-1"}
    assert scene.report(parked, now_s=NOW_S + 5) == [("awaiting-retry", 7, expected)]
    assert scene.events[0].detail["due"].endswith("+00:00")


def test_what_waits_in_its_tier_holds_up_nothing() -> None:
    """A retry that is not due yet is where it should be."""
    scene = key_order()
    tier = Assignment(2, scene.delivery.queue.retry_topics[TIERS[1]], 0, source=Tier(TIERS[1]))
    held = scene.delivery.record(assignment=tier)
    scene.held.append((held, NOW.timestamp()))
    assert scene.report(held) == []


def test_a_crashed_job_an_unsettled_outcome_and_busy_runners_are_distinguished() -> None:
    """Of the latter two the worker has no more than the offset at hand."""
    scene = key_order()
    record = scene.delivery.record()
    assert scene.report(record) == [("ready", 7, {})]
    scene.is_in_trouble = True
    assert scene.report(record, now_s=NOW_S + 5) == [("unsettled", 7, {})]
    scene.at_gate[record] = Wait(until_at_s=2_000.5, why=CrashPause(timedelta(seconds=2)))
    ends_by = "its pause of 2 s ends: its process has died"
    assert scene.report(record, now_s=NOW_S + 10) == [("crashed", 7, {"ends_by": ends_by})]
    assert scene.events[0].more["due"] == "1970-01-01T00:33:20.500000+00:00", "when the gates are asked again"


def test_a_job_that_waits_for_its_schema_gives_the_reason() -> None:
    """An outage of the schema store is no lack of runners."""
    scene = key_order()
    record = scene.delivery.record()
    scene.at_gate[record] = Wait(until_at_s=None, why=AwaitedSchema(b"", lambda: "no leader"))
    assert scene.report(record) == [("awaiting-schema", 7, {"trouble": "no leader"})]


def test_reports_come_every_few_seconds_and_only_of_what_is_old() -> None:
    """A queue that moves writes none; one that stands writes a few, however many partitions it has."""
    scene = key_order()
    records = [scene.delivery.record(assignment=Assignment(n, "t", n), offset=n) for n in range(2 * MOST_REPORTS)]
    assert scene.report(records[0], since_at_s=NOW_S - 4.9) == []
    assert scene.report(records[0], now_s=NOW_S + 4.9) == []
    assert len(scene.report(*records, now_s=NOW_S + 5)) == MOST_REPORTS
    assert (module.OLD_AFTER_S, module.REPEAT_S) == (5.0, 5.0)
    assert timedelta(seconds=2 * module.REPEAT_S) < timedelta(seconds=15), "operators believe a report for 15 s"
