"""What workers report of limits for people: what is used, what waits, and when the next may begin."""

from __future__ import annotations

from datetime import timedelta

from stoker.consumers.limits.reports import as_data
from stoker.consumers.meters.limit_report import MOST_SCOPES
from stoker.topology import Concurrency, Rate
from support.scenes.limiting import SECOND
from support.scenes.limiting import LimitedScene as Scene
from support.scenes.sharing import SharingWorld


def test_an_owner_reports_its_scopes() -> None:
    """Those behind which most waits come first, then the fullest; what nobody uses is none."""
    scene = Scene([Rate(3, per=10 * SECOND, by="tenant")], of_type=[Concurrency(2, by="key")])
    scene.come(*range(8))
    scene.come(10, 11, tenant="zeta")
    report = scene.gate.reports.look()["q.rate.tenant"]
    assert (report.held, report.keeps, report.scopes, report.full) == (5, True, 2, 1)
    acme, zeta = report.listed
    assert (acme.value, acme.used, acme.of, acme.held) == ("acme", 3, 3, 5)
    assert acme.next_s is not None
    assert 10.0 < acme.next_s < 10.3
    assert (zeta.value, zeta.used, zeta.of, zeta.held, zeta.next_s) == ("zeta", 2, 3, 0, None)
    assert scene.gate.reports.look()["work.concurrency.key"].scopes == 0, "jobs without a key are not counted"
    scene.gate.change("q.rate.tenant", Rate(9, per=10 * SECOND, by="tenant"), is_lifted=False)
    assert scene.gate.reports.look()["q.rate.tenant"].listed[0].used == 8


def test_few_of_many_scopes_are_reported() -> None:
    """The status of a worker is one record."""
    scene = Scene([Rate(3, per=10 * SECOND, by="tenant")])
    for number in range(1_500):
        scene.come(number, tenant=f"tenant-{number}")
    (report,) = as_data([scene.gate.reports.look()]).values()
    assert report["scopes"] == 1_500
    assert len(report["listed"]) == MOST_SCOPES  # type: ignore[arg-type]  # a list, as JSON has it


def test_the_coordinator_alone_knows_what_is_used_of_a_shared_limit() -> None:
    """The others report what waits in them; a coordinator that is none any more knows nothing."""
    world = SharingWorld(Rate(10, per=timedelta(seconds=5), name="q.limit"), seed=1, workers_count=2, backlog=50)
    world.pass_s(3.0)
    coordinator, other = (worker.limits.reports.look()["q.limit"] for worker in world.workers)
    assert (coordinator.keeps, other.keeps) == (True, False)
    assert (coordinator.listed[0].used, coordinator.listed[0].of, coordinator.full) == (10, 10, 1)
    assert coordinator.listed[0].next_s is not None
    assert coordinator.held + other.held == 90
    world.move_owner(world.workers[0])
    world.pass_s(2.5)
    coordinator, other = (worker.limits.reports.look()["q.limit"] for worker in world.workers)
    assert (coordinator.keeps, other.keeps) == (False, True)


def test_a_resource_of_several_queues_is_one() -> None:
    """All that waits in the process, and what the coordinator knows."""
    world = SharingWorld(Rate(10, per=timedelta(seconds=5), name="q.limit"), seed=2, workers_count=2, backlog=50)
    world.pass_s(3.0)
    (report,) = as_data(worker.limits.reports.look() for worker in world.workers).values()
    assert (report["held"], report["keeps"], report["scopes"]) == (90, True, 1)


def test_the_coordinator_reports_when_the_next_may_begin_whether_or_not_anybody_asks_just_then() -> None:
    """Of a short window each worker has been answered most of the time, while its jobs wait."""
    world = SharingWorld(Rate(10, per=timedelta(seconds=1), name="q.limit"), seed=3, workers_count=2, backlog=500)
    seen: list[float | None] = []
    world.pass_s(2.5)
    world.pass_s(3.0, lambda: seen.append(world.workers[0].limits.reports.look()["q.limit"].listed[0].next_s))
    assert all(next_s is not None and next_s <= 1.05 for next_s in seen)
