"""On a real broker: schedules are made, changed, paused and triggered, and what the application declares is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from stoker.producers.control.standing import read_given_orders
from stoker.producers.errors import PayloadRefused
from stoker.producers.schedules import NoSuchSchedule, ScheduleExists, ScheduleRefused, Schedules, SchedulesNotReady
from stoker.topology import ClusterSettings, InvalidDeclaration, JobType, Pipeline, cron, every
from stoker.topology.declaration.schedule import ScheduleOptions
from stoker.topology.planning.apply import ensure_topology
from support.scenes.worker import headers_of, read_topic

NIGHTLY = cron("0 3 * * *", tz="Europe/Berlin")
Report = JobType[[str], None]


def declare(namespace: str) -> tuple[Pipeline, Report]:
    """A queue with a job type."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("reports", partitions=3)

    @pipeline.job(queue)
    def report(kind: str) -> None:
        """Report."""

    return pipeline, report


@pytest.fixture
def ground(cluster: ClusterSettings, namespace: str) -> Iterator[tuple[Pipeline, Report, Schedules]]:
    """An application with its topics, and its schedules."""
    pipeline, report = declare(namespace)
    ensure_topology(pipeline, cluster)
    with Schedules(pipeline, cluster, operator="ann") as schedules:
        yield pipeline, report, schedules


def test_a_schedule_is_made_changed_paused_and_removed(
    cluster: ClusterSettings, ground: tuple[Pipeline, Report, Schedules]
) -> None:
    """Each change is seen at once, and has its trace in the audit topic: who, what and why."""
    pipeline, report, schedules = ground
    made = schedules.add("nightly", NIGHTLY, report.call("full"), overlap="wait", reason="asked for", owner="bob")
    assert (made.timing, made.schedule.operator, made.schedule.owner) == ("0 3 * * * Europe/Berlin", "ann", "bob")
    assert made.next_at is not None
    assert schedules.next("nightly", 3)[0] == made.next_at

    edited = schedules.edit("nightly", call=report.call("short"), jitter=timedelta(minutes=5))
    assert edited.schedule.value != made.schedule.value
    assert (edited.schedule.jitter_ms, edited.schedule.overlap) == (300_000, "wait")
    assert edited.schedule.since == made.schedule.since  # its times are the same

    moved = schedules.edit("nightly", timing=every(timedelta(hours=1)))
    assert moved.schedule.since > made.schedule.since
    paused = schedules.pause("nightly", reason="maintenance")
    assert (paused.next_at, schedules.next("nightly")) == (None, [])
    resumed = schedules.resume("nightly")
    assert resumed.schedule.since > moved.schedule.since
    assert resumed.next_at is not None

    assert [view.name for view in schedules.all()] == ["nightly"]
    schedules.remove("nightly")
    assert schedules.all() == []
    trail = [
        (given.order.verb, given.order.operator, given.order.reason) for given in read_given_orders(pipeline, cluster)
    ]
    assert trail == [
        ("add", "ann", "asked for"),
        ("edit", "ann", ""),
        ("edit", "ann", ""),
        ("pause", "ann", "maintenance"),
        ("resume", "ann", ""),
        ("remove", "ann", ""),
    ]


def test_a_trigger_enqueues_the_jobs_now(cluster: ClusterSettings, ground: tuple[Pipeline, Report, Schedules]) -> None:
    """Also of a paused schedule; the record is that of an instant, but for its id."""
    _, report, schedules = ground
    options = report.with_options(key="k", headers={"team": "a"}, expires=timedelta(hours=1))
    schedules.add("nightly", NIGHTLY, options.call("full"))
    schedules.pause("nightly")
    (receipt,) = schedules.trigger("nightly", reason="by hand")
    (record,) = read_topic(cluster, report.queue.topic, 3)
    headers = headers_of(record)
    assert (headers["ce_id"].decode(), record.partition()) == (receipt.job_id, receipt.partition)
    assert (headers["stoker-schedule"], record.key(), headers["team"]) == (b"nightly", b"k", b"a")
    assert {"stoker-scheduled-for", "stoker-expires", "ce_time"} <= set(headers)


def test_what_cannot_be_is_refused_and_nothing_is_changed(ground: tuple[Pipeline, Report, Schedules]) -> None:
    """A wrong argument, name, policy or queue; a second one of the name; one that is not there."""
    _, report, schedules = ground
    schedules.add("a", NIGHTLY, report.call("full"))
    other, foreign = declare("elsewhere")
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (ScheduleExists, "already", lambda: schedules.add("a", NIGHTLY, report.call("x"))),
        (PayloadRefused, "kind", lambda: schedules.add("b", NIGHTLY, report.call(5))),  # type: ignore[arg-type]  # so users do
        (InvalidDeclaration, "its name", lambda: schedules.add("a b", NIGHTLY, report.call("x"))),
        (InvalidDeclaration, "missed must be", lambda: schedules.add("b", NIGHTLY, report.call("x"), missed="no")),  # type: ignore[arg-type]  # as above
        (InvalidDeclaration, "job_id", lambda: schedules.add("b", NIGHTLY, report.with_options(job_id="1").call("x"))),
        (InvalidDeclaration, "no time zone", lambda: schedules.edit("a", start=datetime(2026, 1, 1))),  # noqa: DTZ001  # the fault
        (ScheduleRefused, "another pipeline", lambda: schedules.add("b", NIGHTLY, foreign.call("x"))),
        (
            NoSuchSchedule,
            "did you mean nightly",
            lambda: (schedules.add("nightly", NIGHTLY, report.call("x")), schedules.show("nigtly")),
        ),
    ]
    for kind, part, call in refusals:
        with pytest.raises(kind, match=part):
            call()
    assert [view.name for view in schedules.all()] == ["a", "nightly"]
    assert other.namespace == "elsewhere"


def test_without_the_topic_the_remedy_is_named(cluster: ClusterSettings, namespace: str) -> None:
    """Before the topology is applied."""
    pipeline, _ = declare(namespace)
    with Schedules(pipeline, cluster) as schedules, pytest.raises(SchedulesNotReady, match="topology apply"):
        schedules.all()


def test_what_the_application_declares_is_applied(cluster: ClusterSettings, namespace: str) -> None:
    """Added, left alone where it is the same, changed, and removed when it goes; pauses and others' schedules stay."""
    first, report = declare(namespace)
    first.schedule("nightly", NIGHTLY, report.call("full"))
    first.schedule("hourly", every(timedelta(hours=1)), lambda at: report.call(f"{at:%H}"), queue=report.queue)
    ensure_topology(first, cluster)
    with Schedules(first, cluster) as schedules:
        assert schedules.plan_declared().added == ("hourly", "nightly")
        assert schedules.apply_declared() == schedules.plan_declared() or schedules.plan_declared().is_empty
        schedules.add("mine", every(timedelta(minutes=1)), report.call("x"))
        schedules.pause("nightly")
        before = schedules.show("nightly").schedule
        with pytest.raises(ScheduleExists, match="declares it"):
            schedules.remove("nightly")
        assert schedules.apply_declared().is_empty

    second, report = declare(namespace)
    second.schedule("nightly", NIGHTLY, report.call("short"))
    second.schedule("mine", NIGHTLY, report.call("x"))
    with Schedules(second, cluster) as schedules:
        planned = schedules.plan_declared()
        assert (planned.changed, planned.removed, planned.left_alone) == (("nightly",), ("hourly",), ("mine",))
        assert schedules.apply_declared() == planned
        after = schedules.show("nightly").schedule
        assert (after.is_paused, after.since, after.version == before.version) == (True, before.since, False)
        assert [view.name for view in schedules.all()] == ["mine", "nightly"]
        assert not schedules.show("mine").schedule.is_declared


def test_two_declarations_of_one_name_and_functions_without_queue_are_refused() -> None:
    """At import, with all faults."""
    pipeline, report = declare("shop")
    pipeline.schedule("a", NIGHTLY, report.call("x"))
    with pytest.raises(InvalidDeclaration, match="declared already"):
        pipeline.schedule("a", NIGHTLY, report.call("x"))
    with pytest.raises(InvalidDeclaration, match="queue="):
        pipeline.schedule("b", NIGHTLY, lambda _at: report.call("x"))
    with pytest.raises(InvalidDeclaration, match=r"missed_limit must be .*; grace must not be negative"):
        pipeline.schedule("c", NIGHTLY, report.call("x"), missed_limit=0, grace=timedelta(-1))
    start, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidDeclaration, match="before it starts"):
        pipeline.schedule("c", NIGHTLY, report.call("x"), start=start, end=end)


@pytest.mark.parametrize("options", [{"grace": timedelta.max}, {"jitter": timedelta.max}])
def test_lengths_that_lead_out_of_the_calendar_are_refused(options: ScheduleOptions) -> None:
    """Else all workers of the queue would end one after another over the sum of it and an instant."""
    pipeline, report = declare("shop")
    with pytest.raises(InvalidDeclaration, match="must be 36,500 days at the most"):
        pipeline.schedule("a", NIGHTLY, report.call("x"), **options)


@pytest.mark.parametrize("expires", [timedelta.max, timedelta(0), timedelta(hours=-1)])
def test_jobs_that_would_never_run_or_expire_beyond_the_calendar_are_refused(expires: timedelta) -> None:
    """What `enqueue` refuses."""
    pipeline, report = declare("shop")
    with pytest.raises(InvalidDeclaration, match="expires must be more than 0"):
        pipeline.schedule("a", NIGHTLY, report.with_options(expires=expires).call("x"))
