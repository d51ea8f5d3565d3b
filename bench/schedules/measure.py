"""`schedules`: what a great many schedules cost the worker that fires them, and how late they fire."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import psutil
from app import KIND_VARIABLE, NAMESPACE_VARIABLE
from cluster import Site
from figures import Figure, Measure, Sizes, Values, below, percentile
from jobs import order
from part import only_queue
from processes import stoker

from stoker.producers.schedules import Schedules, ScheduleView
from stoker.producers.schedules.instants import due_at
from stoker.topology import Pipeline, every

SHARE: Final = 100
"""One schedule for so many of the jobs that wait in other measures."""
LONGEST: Final = timedelta(minutes=1)
"""How often each fires, where there are some thousands."""
SHORTEST: Final = timedelta(seconds=2)
TAKEN_UP: Final = timedelta(seconds=5)
"""So long after they were made, schedules count: the worker takes them up all at once."""
START_TIMEOUT_S: Final = 90.0
_LOOK_S: Final = 0.2


def _schedules(site: Site, sizes: Sizes, number: int) -> Values:
    count = max(1, sizes.waiting // SHARE)
    interval = _interval(count)
    with site.topics("sync") as pipeline:
        _declare(pipeline, count, interval)
        log = site.folder / f"schedules-{number}.log"
        command = ("-A", "app:pipeline", "worker", "--log-format", "json")
        variables = {NAMESPACE_VARIABLE: pipeline.namespace, KIND_VARIABLE: "sync"}
        servers = site.cluster.bootstrap_servers
        with (
            stoker(*command, bootstrap_servers=servers, variables=variables, log=log) as process_id,
            Schedules(pipeline, site.cluster, operator="bench") as schedules,
        ):
            process = psutil.Process(process_id)
            _wait(lambda: process.cpu_times().user > 0 and process.num_threads() > 10)
            idle = _share(process, sizes.seconds)
            schedules.apply_declared()
            settled_at = datetime.now(UTC) + TAKEN_UP
            _wait(lambda: any(view.last is not None for view in schedules.all()))
            firing = _share(process, sizes.seconds)
            _wait(lambda: all(_has_fired(view, settled_at) for view in schedules.all()), look_s=5.0)
            late_ms = [_late_ms(view) for view in schedules.all()]
    return {
        "count": count,
        "idle": idle,
        "firing": firing,
        "extra": firing - idle,
        "late_p50": percentile(late_ms, 0.50),
        "late_p99": percentile(late_ms, 0.99),
    }


def _interval(count: int) -> timedelta:
    return max(SHORTEST, min(LONGEST, timedelta(seconds=count / SHARE)))


def _declare(pipeline: Pipeline, count: int, interval: timedelta) -> None:
    queue = only_queue(pipeline)
    job_type = next(found for found in pipeline.job_types.values() if found.queue is queue)
    for number in range(count):
        call = job_type.call(*order(number))
        pipeline.schedule(f"s{number}", every(interval), call, jitter=interval)


def _share(process: psutil.Process, seconds: float) -> float:
    """Which share of a processor the process takes."""
    before, began_at_s = process.cpu_times(), time.monotonic()
    time.sleep(max(1.0, seconds))
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began_at_s)


def _has_fired(view: ScheduleView, since: datetime) -> bool:
    return view.last is not None and view.last.instant >= since


def _late_ms(view: ScheduleView) -> float:
    """How much later than due the last instant was fired, as its worker has noted it."""
    last = view.last
    assert last is not None
    return (last.at - due_at(view.schedule, last.instant)) / timedelta(milliseconds=1)


def _wait(condition: Callable[[], bool], look_s: float = _LOOK_S) -> None:
    give_up_at_s = time.monotonic() + START_TIMEOUT_S + 2 * LONGEST.total_seconds()
    while not condition():
        if time.monotonic() > give_up_at_s:
            raise TimeoutError("the worker has not fired all schedules")
        time.sleep(look_s)


def _title(sizes: Sizes) -> str:
    count = max(1, sizes.waiting // SHARE)
    return (
        f"{count:,} schedules, each of which fires every {_interval(count).total_seconds():g} s: the processor time of "
        f"the worker that fires them and runs their jobs, over {sizes.seconds:g} s"
    )


SCHEDULES: Final = Measure(
    name="schedules",
    title=_title,
    figures=(
        Figure(name="count", label="schedules", unit="jobs"),
        Figure(name="idle", label="worker before, of a processor", unit="ratio"),
        Figure(name="firing", label="firing, and running the jobs", unit="ratio"),
        Figure(name="extra", label="difference", unit="ratio"),
        Figure(name="late_p50", label="late by, p50, ms", unit="ms"),
        Figure(name="late_p99", label="late by, p99, ms", unit="ms", target=below(1_000.0)),
    ),
    run=_schedules,
    is_long=True,
)
