"""The measures: which processes run in which order, and which figures come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

from app import NAMESPACE_VARIABLE
from backlog import Backlog
from cluster import Site
from figures import Figure, Measure, Sizes, Target, Values, percentile
from jobs import BRIEF_S, KEYS, PARTITIONS, TIER, Kind
from ordering.measure import CONTROL
from outboxes.measure import OUTBOX
from part import Part, Result, only_queue
from pending.behind_key import STRICT, WAITING
from pending.delays import DELAY
from pending.released import RELEASED
from processes import do, started, stoker
from resident import ResidentPeak
from schedules.measure import SCHEDULES
from sending import WARM_UP
from sharing.measure import FLEET, FLOOD, SHARES, URGENT
from sight.commands import COMMANDS
from sight.events import EVENTS
from sight.index import INDEX
from sight.metrics import METRICS
from sight.owners import OWNERS
from sight.rebuild import REBUILD
from sight.statistics import STATISTICS
from sight.traces import TRACES
from stages import STAGES
from working import BRIEF_LANES, LANES

from stoker.topology import Pipeline

SINGLE_PART: Final = 100
"""One job in so many of a bulk's is enqueued singly, since that takes a hundred times as long."""
PER_SECOND: Final = 20
IDLE_S: Final = 3.0
BACKLOG_S: Final = 10.0
START_TIMEOUT_S: Final = 30.0
BRIEF_PART: Final = 8
"""One in so many of the jobs of a backlog is measured of those that wait: they take so much longer."""
CEILING_PER_S: Final = BRIEF_LANES / BRIEF_S
_LOOK_S: Final = 0.1
FirstT = TypeVar("FirstT")
SecondT = TypeVar("SecondT")


class NotStarted(Exception):
    """The worker whose memory is measured did not come to its partitions."""

    def __init__(self, log: Path) -> None:
        super().__init__(f"the worker got no partitions in {START_TIMEOUT_S:g} s; its log:\n{log.read_text()}")


def _drain(kind: Kind) -> Callable[[Site, Sizes, int], Values]:
    def run(site: Site, sizes: Sizes, number: int) -> Values:
        with site.topics(kind) as pipeline:
            tell = _teller(site, pipeline, kind, sizes.jobs)
            tell("bulk")
            worker, (bare, by_hand) = _pair(
                number, lambda: tell("drain"), lambda: (tell("drain bare"), tell("drain by hand"))
            )
        rate, bare_rate, hand_rate = (_number(result, "jobs_per_s") for result in (worker, bare, by_hand))
        others = {name: _number(worker, name) for name in ("settled_per_s", "cpu_us", "peak_mb")}
        beside = {"bare": bare_rate, "ratio": rate / bare_rate, "by_hand": hand_rate, "hand_ratio": rate / hand_rate}
        return {"rate": rate, **beside, **others}

    return run


def _brief(site: Site, sizes: Sizes, number: int) -> Values:
    with site.topics("brief") as pipeline:
        tell = _teller(site, pipeline, "brief", max(1_000, sizes.jobs // BRIEF_PART))
        tell("bulk")
        rate = _number(tell("drain"), "settled_per_s")
    return {"rate": rate, "ceiling": CEILING_PER_S, "share": rate / CEILING_PER_S}


def _stages(site: Site, sizes: Sizes, number: int) -> Values:
    with site.topics("sync") as pipeline:
        tell = _teller(site, pipeline, "sync", sizes.jobs)
        tell("bulk")
        found = tell("stages")
    stages = {name: _number(found, name) for name in STAGES}
    return {**stages, "all": sum(stages.values())}


def _bulk(site: Site, sizes: Sizes, number: int) -> Values:
    with site.topics("sync") as pipeline:
        tell = _teller(site, pipeline, "sync", sizes.jobs)
        many, plain_many = _pair(number, lambda: tell("bulk"), lambda: tell("bulk plain"))
        tell = _teller(site, pipeline, "sync", max(10, sizes.jobs // SINGLE_PART))
        one, plain_one = _pair(number, lambda: tell("singly"), lambda: tell("singly plain"))
    rate, plain_rate = _number(many, "jobs_per_s"), _number(plain_many, "jobs_per_s")
    return {
        "rate": rate,
        "plain": plain_rate,
        "ratio": rate / plain_rate,
        **_two_percentiles("single", _list(one)),
        **_two_percentiles("plain_single", _list(plain_one)),
    }


def _latency(site: Site, sizes: Sizes, _number: int) -> Values:
    with site.topics("stamped") as pipeline:
        jobs = WARM_UP + round(PER_SECOND * sizes.seconds)
        worker, bare = (_part(pipeline, does, "stamped", jobs) for does in ("serve", "serve bare"))
        servers = site.cluster.bootstrap_servers
        with started(worker, servers) as in_worker, started(bare, servers) as in_bare:
            in_worker.wait_ready()
            in_bare.wait_ready()
            do(_part(pipeline, "paced", "stamped", jobs), servers)
            waits_s, bare_waits_s = _list(in_worker.result())[WARM_UP:], _list(in_bare.result())[WARM_UP:]
    return {**_two_percentiles("wait", waits_s), **_two_percentiles("bare", bare_waits_s)}


def _retry(site: Site, sizes: Sizes, _number: int) -> Values:
    with site.topics("failing") as pipeline:
        jobs = WARM_UP + round(PER_SECOND * sizes.seconds)
        servers = site.cluster.bootstrap_servers
        with started(_part(pipeline, "serve", "failing", jobs), servers) as worker:
            worker.wait_ready()
            do(_part(pipeline, "paced", "failing", jobs), servers)
            late_s = _list(worker.result())[WARM_UP:]
    return {"earliest": min(late_s) * 1e3, **_two_percentiles("late", late_s)}


def _memory(site: Site, sizes: Sizes, number: int) -> Values:
    log = site.folder / f"worker-{number}.log"
    servers = site.cluster.bootstrap_servers
    with site.topics("slow") as pipeline:
        command = ("-A", "app:pipeline", "worker", "--grace", "0s", "--log-format", "json")
        variables = {NAMESPACE_VARIABLE: pipeline.namespace}
        with stoker(*command, bootstrap_servers=servers, variables=variables, log=log) as process_id:
            _wait_assigned(log)
            with ResidentPeak(process_id) as idle:
                idle.wait(IDLE_S)
            with ResidentPeak(process_id) as loaded:
                do(_part(pipeline, "bulk", "slow", sizes.waiting), servers)
                loaded.wait(BACKLOG_S)
            waiting = _uncommitted(site, pipeline)
    change_mb = loaded.peak_mb - idle.peak_mb
    return {"idle": idle.peak_mb, "loaded": loaded.peak_mb, "change": change_mb, "waiting": waiting}


def _uncommitted(site: Site, pipeline: Pipeline) -> int:
    backlog = Backlog(site.cluster, only_queue(pipeline))
    try:
        return backlog.uncommitted()
    finally:
        backlog.close()


def _wait_assigned(log: Path) -> None:
    give_up_at_s = time.monotonic() + START_TIMEOUT_S
    while "partitions assigned" not in log.read_text():
        if time.monotonic() > give_up_at_s:
            raise NotStarted(log)
        time.sleep(_LOOK_S)


# ---- parts and their results


def _part(pipeline: Pipeline, does: str, kind: Kind, jobs: int) -> Part:
    return Part(does=does, namespace=pipeline.namespace, kind=kind, jobs=jobs)


def _teller(site: Site, pipeline: Pipeline, kind: Kind, jobs: int) -> Callable[[str], Result]:
    return lambda does: do(_part(pipeline, does, kind, jobs), site.cluster.bootstrap_servers)


def _pair(number: int, first: Callable[[], FirstT], second: Callable[[], SecondT]) -> tuple[FirstT, SecondT]:
    """Both results; every other round takes them the other way round, so that neither is always the later one."""
    if number % 2:
        return first(), second()
    later = second()
    return first(), later


def _number(result: Result, name: str) -> float:
    return cast("float", result[name])


def _list(result: Result) -> list[float]:
    return cast("list[float]", result["seconds"])


def _two_percentiles(name: str, seconds: Sequence[float]) -> Values:
    return {f"{name}_p50": percentile(seconds, 0.50) * 1e3, f"{name}_p99": percentile(seconds, 0.99) * 1e3}


# ---- the catalogue


def _drain_figures(is_judged: Target | None, ratio: Target | None) -> tuple[Figure, ...]:
    return (
        Figure(name="rate", label="jobs/s, settled and committed", unit="/s", target=is_judged),
        Figure(name="bare", label="jobs/s, bare loop", unit="/s"),
        Figure(name="ratio", label="ratio to the bare loop", unit="ratio", target=ratio),
        Figure(name="by_hand", label="jobs/s, bare loop with fastavro's reader", unit="/s"),
        Figure(name="hand_ratio", label="ratio to it", unit="ratio"),
        Figure(name="settled_per_s", label="jobs/s, settled", unit="/s"),
        Figure(name="cpu_us", label="CPU of the process per job, µs", unit="µs"),
        Figure(name="peak_mb", label="peak resident memory, MB", unit="MB"),
    )


def _drain_title(word: str) -> Callable[[Sizes], str]:
    return lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op {word} jobs of 3 fields, {KEYS:,} keys, "
        f"{PARTITIONS} partitions, ledger on"
    )


WORKER: Final = Measure(
    name="worker",
    title=lambda sizes: f"{_drain_title('sync')(sizes)}, {LANES} lanes",
    figures=_drain_figures(Target(sense="at least", bound=30_000), Target(sense="at least", bound=0.25)),
    run=_drain("sync"),
)
ASYNC: Final = Measure(
    name="async", title=_drain_title("async"), figures=_drain_figures(None, None), run=_drain("async")
)
STAGE_LABELS: Final = {
    "consume": "consume",
    "record": "headers, Record",
    "lanes": "progress, lanes",
    "claim": "claim",
    "decode": "decode",
    "run": "run",
    "decide": "decide",
    "hand_over": "ledger, hand in, next of the lane",
    "settle": "settle",
    "complete": "complete",
    "all": "all stages",
}
STAGE_BY_STAGE: Final = Measure(
    name="stages",
    title=lambda sizes: (
        f"{sizes.jobs:,} no-op sync jobs of 3 fields through the stages of a worker in one thread, ledger on: "
        "CPU of the thread per job"
    ),
    figures=tuple(Figure(name=name, label=f"{label}, µs", unit="µs") for name, label in STAGE_LABELS.items()),
    run=_stages,
)
BRIEF: Final = Measure(
    name="brief",
    title=lambda sizes: (
        f"one worker process through {max(1_000, sizes.jobs // BRIEF_PART):,} waiting sync jobs that sleep for "
        f"{BRIEF_S * 1e3:g} ms, {BRIEF_LANES} lanes"
    ),
    figures=(
        Figure(name="rate", label="jobs/s, settled", unit="/s"),
        Figure(name="ceiling", label="jobs/s, lanes ÷ sleep", unit="/s"),
        Figure(name="share", label="share of the ceiling", unit="ratio"),
    ),
    run=_brief,
)
BULK: Final = Measure(
    name="bulk",
    title=lambda sizes: (
        f"enqueue_many of {sizes.jobs:,} jobs until all are confirmed; then {max(10, sizes.jobs // SINGLE_PART):,} "
        "enqueued one by one, each confirmed before the next"
    ),
    figures=(
        Figure(name="rate", label="jobs/s", unit="/s", target=Target(sense="at least", bound=40_000)),
        Figure(name="plain", label="jobs/s, plain client", unit="/s"),
        Figure(name="ratio", label="ratio to the plain client", unit="ratio"),
        Figure(name="single_p50", label="one enqueue, p50, ms", unit="ms"),
        Figure(name="single_p99", label="one enqueue, p99, ms", unit="ms"),
        Figure(name="plain_single_p50", label="plain client, p50, ms", unit="ms"),
        Figure(name="plain_single_p99", label="plain client, p99, ms", unit="ms"),
    ),
    run=_bulk,
)
MEMORY: Final = Measure(
    name="memory",
    title=lambda sizes: f"resident memory of `stoker worker`: idle, then with {sizes.waiting:,} jobs waiting",
    figures=(
        Figure(name="idle", label="idle, MB", unit="MB", target=Target(sense="below", bound=120, judged_by="worst")),
        Figure(name="loaded", label="with the backlog, MB", unit="MB"),
        Figure(
            name="change", label="change, MB", unit="MB", target=Target(sense="below", bound=100, judged_by="worst")
        ),
        Figure(name="waiting", label="jobs still waiting at the end", unit="jobs"),
    ),
    run=_memory,
)
LATENCY: Final = Measure(
    name="latency",
    title=lambda sizes: (
        f"call of enqueue to start of the job, idle worker, {PER_SECOND} jobs/s for {sizes.seconds:g} s, "
        "beside a bare consumer of the same jobs"
    ),
    figures=(
        Figure(name="wait_p50", label="p50, ms", unit="ms", target=Target(sense="below", bound=5)),
        Figure(name="wait_p99", label="p99, ms", unit="ms", target=Target(sense="below", bound=20)),
        Figure(name="bare_p50", label="bare consumer, p50, ms", unit="ms"),
        Figure(name="bare_p99", label="bare consumer, p99, ms", unit="ms"),
    ),
    run=_latency,
)
RETRY: Final = Measure(
    name="retry",
    title=lambda sizes: (
        f"due time to start of a retry, tier of {TIER.total_seconds():g} s, idle worker, {PER_SECOND} jobs/s "
        f"for {sizes.seconds:g} s"
    ),
    figures=(
        Figure(
            name="earliest",
            label="earliest, ms",
            unit="ms",
            target=Target(sense="at least", bound=0, judged_by="worst"),
        ),
        Figure(name="late_p50", label="late by, p50, ms", unit="ms"),
        Figure(name="late_p99", label="late by, p99, ms", unit="ms", target=Target(sense="below", bound=1_000)),
    ),
    run=_retry,
)
MEASURES: Final = (
    WORKER,
    ASYNC,
    STAGE_BY_STAGE,
    EVENTS,
    TRACES,
    INDEX,
    COMMANDS,
    METRICS,
    OWNERS,
    STATISTICS,
    REBUILD,
    BRIEF,
    BULK,
    MEMORY,
    LATENCY,
    RETRY,
    CONTROL,
    OUTBOX,
    SCHEDULES,
    SHARES,
    URGENT,
    FLOOD,
    FLEET,
    WAITING,
    STRICT,
    RELEASED,
    DELAY,
)
