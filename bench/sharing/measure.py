"""`shares`, `urgent`, `fleet`: what limits, fairness and priorities cost, and how well they hold."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, cast

from cluster import Site
from figures import Figure, Measure, Sizes, Values, at_least, below, percentile
from jobs import FLEET_PER_S, SMALL_TENANTS, TENANTS, Kind
from part import Part, Result
from processes import PartProcess, do, started
from sending import WARM_UP

PROCESSES: Final = 4
PER_SECOND: Final = 20
"""Urgent jobs."""
WINDOW_S: Final = 1.0
STARTED_S: Final = 15.0
"""For so long there is more work, since the processes do not start at once."""
SETTLED_S: Final = 3.0
"""So long after the last process has begun a job, and before the last job, the use of the limit is not measured."""
LEAST_RATIO: Final = 0.7


def _shares(site: Site, sizes: Sizes, number: int) -> Values:
    drains: list[Kind] = ["tenanted", "limited", "fair"]
    found = {kind: _drained(site, sizes, kind) for kind in (drains if number % 2 else reversed(drains))}
    rates: Values = {str(kind): cast("float", result["jobs_per_s"]) for kind, result in found.items()}
    cpu_us = {f"{kind}_cpu_us": cast("float", result["cpu_us"]) for kind, result in found.items()}
    shares = {f"{kind}_share": rates[kind] / rates["tenanted"] for kind in drains[1:]}
    return {**rates, **shares, **cpu_us}


def _drained(site: Site, sizes: Sizes, kind: Kind) -> Result:
    with site.topics(kind) as pipeline:
        part = Part(does="bulk", namespace=pipeline.namespace, kind=kind, jobs=sizes.jobs)
        do(part, site.cluster.bootstrap_servers)
        return do(_with(part, "drain"), site.cluster.bootstrap_servers)


def _with(part: Part, does: str) -> Part:
    return Part(does=does, namespace=part.namespace, kind=part.kind, jobs=part.jobs)


def _urgent(site: Site, sizes: Sizes, _number: int) -> Values:
    idle_s, past_s = (_urgent_waits_s(site, sizes, jobs) for jobs in (0, sizes.jobs))
    idle, past = percentile(idle_s, 0.5) * 1e3, percentile(past_s, 0.5) * 1e3
    return {"idle": idle, "past": past, "added": past - idle, "past_p99": percentile(past_s, 0.99) * 1e3}


def _urgent_waits_s(site: Site, sizes: Sizes, backlog: int) -> list[float]:
    servers = site.cluster.bootstrap_servers
    with site.topics("ranked") as pipeline:

        def part(does: str, jobs: int) -> Part:
            return Part(does=does, namespace=pipeline.namespace, kind="ranked", jobs=jobs)

        if backlog:
            do(part("fill", backlog), servers)
        urgent = WARM_UP + round(PER_SECOND * sizes.seconds)
        with started(part("serve", urgent), servers) as worker:
            worker.wait_ready()
            do(part("paced urgent", urgent), servers)
            return _list(worker.result())[WARM_UP:]


def _flood(site: Site, sizes: Sizes, _number: int) -> Values:
    ahead_s, comes_s = (_small_waits_s(site, sizes, is_ahead=is_ahead) for is_ahead in (True, False))
    return {
        "ahead": percentile(ahead_s, 0.5) * 1e3,
        "ahead_p99": percentile(ahead_s, 0.99) * 1e3,
        "comes": percentile(comes_s, 0.5) * 1e3,
        "comes_p99": percentile(comes_s, 0.99) * 1e3,
    }


def _small_waits_s(site: Site, sizes: Sizes, *, is_ahead: bool) -> list[float]:
    servers, small = site.cluster.bootstrap_servers, round(SMALL_TENANTS * sizes.seconds)
    with site.topics("crowded") as pipeline, ExitStack() as stack:

        def start(does: str, jobs: int) -> PartProcess:
            part = Part(does=does, namespace=pipeline.namespace, kind="crowded", jobs=jobs)
            return stack.enter_context(started(part, servers))

        if is_ahead:
            start("fill", sizes.jobs).result()
        worker = start("serve", small)
        worker.wait_ready()
        senders = [start("small tenants", small), *([] if is_ahead else [start("fill", sizes.jobs)])]
        for sender in senders:
            sender.result()
        return _list(worker.result())


def _fleet(site: Site, sizes: Sizes, _number: int) -> Values:
    servers = site.cluster.bootstrap_servers
    jobs = round(FLEET_PER_S * (sizes.seconds + STARTED_S))
    with site.topics("rated") as pipeline, ExitStack() as stack:
        part = Part(does="fill", namespace=pipeline.namespace, kind="rated", jobs=jobs)
        do(part, servers)
        workers = [stack.enter_context(started(_with(part, "note begins"), servers)) for _ in range(PROCESSES)]
        return _precision([_list(worker.result()) for worker in workers])


def _precision(begins_s: Sequence[Sequence[float]]) -> Values:
    """How much of the limit was used while all processes had work, and whether any window held more."""
    everywhere_s = sorted(at_s for process in begins_s for at_s in process)
    from_s = max(process[0] for process in begins_s if process) + SETTLED_S
    until_s = max(everywhere_s[-1] - SETTLED_S, from_s + WINDOW_S)
    first, most, beyond = 0, 0, 0
    for number, at_s in enumerate(everywhere_s):
        while at_s - everywhere_s[first] >= WINDOW_S:
            first += 1
        held = number - first + 1
        most, beyond = max(most, held), beyond + (held > FLEET_PER_S)
    used = sum(from_s <= at_s < until_s for at_s in everywhere_s) / (FLEET_PER_S / WINDOW_S * (until_s - from_s))
    return {"used": used, "most": most, "beyond": beyond}


def _list(result: Result) -> list[float]:
    return cast("list[float]", result["seconds"])


SHARES: Final = Measure(
    name="shares",
    title=lambda sizes: (
        f"one worker process through {sizes.jobs:,} waiting no-op sync jobs of {TENANTS} tenants: in a queue that "
        "declares nothing, with a limit by tenant that is never reached, and fair by tenant"
    ),
    figures=(
        Figure(name="tenanted", label="jobs/s, nothing declared", unit="/s"),
        Figure(name="limited", label="jobs/s, limit by tenant", unit="/s"),
        Figure(name="fair", label="jobs/s, fair by tenant", unit="/s"),
        Figure(name="limited_share", label="limit: share of the plain", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="fair_share", label="fair: share of the plain", unit="ratio", target=at_least(LEAST_RATIO)),
        Figure(name="tenanted_cpu_us", label="CPU per job, µs, nothing declared", unit="µs"),
        Figure(name="limited_cpu_us", label="CPU per job, µs, limit by tenant", unit="µs"),
        Figure(name="fair_cpu_us", label="CPU per job, µs, fair by tenant", unit="µs"),
    ),
    run=_shares,
)
URGENT: Final = Measure(
    name="urgent",
    title=lambda sizes: (
        f"call of enqueue to start of urgent jobs, {PER_SECOND} jobs/s for {sizes.seconds:g} s: idle worker, then past "
        f"a backlog of {sizes.jobs:,} normal jobs of 10 ms"
    ),
    figures=(
        Figure(name="idle", label="idle, p50, ms", unit="ms"),
        Figure(name="past", label="past the backlog, p50, ms", unit="ms"),
        Figure(name="added", label="more past the backlog, p50, ms", unit="ms", target=below(50)),
        Figure(name="past_p99", label="past the backlog, p99, ms", unit="ms"),
    ),
    run=_urgent,
)
FLOOD: Final = Measure(
    name="flood",
    title=lambda sizes: (
        f"call of enqueue to start of the jobs of {SMALL_TENANTS} tenants, one a second each for {sizes.seconds:g} s, "
        f"beside {sizes.jobs:,} no-op jobs of another one: ahead in the log when the worker starts, then as they come"
    ),
    figures=(
        Figure(name="ahead", label="ahead in the log, p50, ms", unit="ms"),
        Figure(name="ahead_p99", label="ahead in the log, p99, ms", unit="ms", target=below(2_000)),
        Figure(name="comes", label="as they come, p50, ms", unit="ms"),
        Figure(name="comes_p99", label="as they come, p99, ms", unit="ms", target=below(2_000)),
    ),
    run=_flood,
)
FLEET: Final = Measure(
    name="fleet",
    title=lambda sizes: (
        f"a limit of {FLEET_PER_S} jobs/s shared by {PROCESSES} worker processes, with work for {sizes.seconds:g} s"
    ),
    figures=(
        Figure(name="used", label="used of the limit", unit="ratio", target=at_least(0.9)),
        Figure(name="most", label="most begins in a window of 1 s", unit="jobs"),
        Figure(name="beyond", label="begins beyond the limit", unit="jobs", target=below(1)),
    ),
    run=_fleet,
)
