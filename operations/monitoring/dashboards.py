"""The dashboards: the fleet, queues, failures, and what stands beside workers; each of one pipeline that is chosen."""

from __future__ import annotations

from typing import Final

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.all_metrics import Metric
from .panel import Dashboard, Panel, Query

_PIPELINE: Final = 'pipeline="$pipeline"'
_CHOSEN: Final = f'{_PIPELINE},queue=~"$queue"'


def _sum(metric: Metric, by: str, selector: str = _PIPELINE) -> Query:
    return Query(expr=f"sum by ({by}) ({metric.name}{{{selector}}})", legend=_legend(by))


def _max(metric: Metric, by: str, selector: str = _PIPELINE) -> Query:
    return Query(expr=f"max by ({by}) ({metric.name}{{{selector}}})", legend=_legend(by))


def _rate(metric: Metric, by: str, selector: str = _PIPELINE) -> Query:
    return Query(expr=f"sum by ({by}) (rate({metric.name}{{{selector}}}[$__rate_interval]))", legend=_legend(by))


def _quantiles(metric: Metric, by: str) -> tuple[Query, ...]:
    buckets = f"sum by (le, {by}) (rate({metric.name}_bucket{{{_CHOSEN}}}[$__rate_interval]))"
    return tuple(
        Query(expr=f"histogram_quantile({quantile}, {buckets})", legend=f"{_legend(by)} p{quantile * 100:.0f}")
        for quantile in (0.5, 0.95, 0.99)
    )


def _busy(by: str, selector: str = _PIPELINE) -> Query:
    busy, all_of_them = (f"sum by ({by}) ({one.name}{{{selector}}})" for one in (metrics.BUSY, metrics.RUNNERS))
    return Query(expr=f"{busy} / {all_of_them}", legend=_legend(by))


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))


def _failure_ratio() -> Query:
    failed, runs = (
        f'sum by (queue, type) (rate({metrics.SETTLED.name}{{{_CHOSEN},outcome=~"{outcomes}"}}[$__rate_interval]))'
        for outcomes in ("retried|dead", "done|retried|dead")
    )
    return Query(expr=f"({failed} or 0 * {runs}) / {runs}", legend="{{queue}} {{type}}")


FLEET: Final = Dashboard(
    name="fleet",
    uid="stoker-fleet",
    title="Stoker: fleet",
    text="All workers and queues of a pipeline at a glance.",
    by_queue=False,
    panels=(
        Panel(
            title="Workers",
            text="Processes that Prometheus sees, by version and release.",
            unit="short",
            kind="stat",
            width=8,
            queries=(
                Query(
                    expr=f"count by (version, release) ({metrics.INFO.name}{{{_PIPELINE}}})",
                    legend="{{version}} {{release}}",
                ),
            ),
        ),
        Panel(
            title="Ready",
            text="Processes that are ready for work.",
            unit="short",
            kind="stat",
            width=8,
            queries=(Query(expr=f"sum({metrics.IS_READY.name}{{{_PIPELINE}}})", legend="ready"),),
        ),
        Panel(
            title="Unfinished jobs",
            text="Records without outcome, of all queues, delayed ones and retries included.",
            unit="short",
            kind="stat",
            width=8,
            queries=(Query(expr=f"sum({metrics.UNFINISHED.name}{{{_PIPELINE}}})", legend="jobs"),),
        ),
        Panel(
            title="Jobs done",
            text="Jobs that are done in a second, by queue.",
            unit="ops",
            queries=(_rate(metrics.SETTLED, "queue", f'{_PIPELINE},outcome="done"'),),
        ),
        Panel(
            title="Unfinished jobs by queue",
            text="Records without outcome, delayed ones and retries included.",
            unit="short",
            queries=(_sum(metrics.UNFINISHED, "queue"),),
        ),
        Panel(
            title="Age of the oldest job",
            text="Delayed jobs and retries are left out.",
            unit="s",
            queries=(_max(metrics.OLDEST, "queue"),),
        ),
        Panel(title="Runners busy", text="At 100 % more workers help.", unit="percentunit", queries=(_busy("queue"),)),
        Panel(
            title="Partitions",
            text="Partitions at each process, by what they do.",
            unit="short",
            queries=(_sum(metrics.PARTITIONS, "instance, queue, state"),),
        ),
        Panel(
            title="Memory",
            text="Resident memory of each process, without its children.",
            unit="bytes",
            queries=(_max(metrics.MEMORY, "instance"),),
        ),
        Panel(
            title="Last turn of the poll threads",
            text="From 60 s on a poll thread hangs.",
            unit="s",
            queries=(_max(metrics.TURN_AGE, "instance, queue"),),
        ),
        Panel(
            title="Rebalances",
            text="How often partitions are assigned, revoked and lost.",
            unit="ops",
            queries=(_rate(metrics.REBALANCES, "queue, change"),),
        ),
    ),
)
QUEUE: Final = Dashboard(
    name="queue",
    uid="stoker-queue",
    title="Stoker: queues",
    text="How much waits, for how long and why; how long jobs run.",
    by_queue=True,
    panels=(
        Panel(
            title="Unfinished jobs",
            text="Records without outcome, delayed ones and retries included.",
            unit="short",
            queries=(_sum(metrics.UNFINISHED, "queue", _CHOSEN),),
        ),
        Panel(
            title="Growth",
            text="Jobs a second by which the unfinished ones increase; they are worked off while this is below zero.",
            unit="ops",
            queries=(_sum(metrics.GROWTH, "queue", _CHOSEN),),
        ),
        Panel(
            title="Age of the oldest job",
            text="Delayed jobs and retries are left out.",
            unit="s",
            queries=(_max(metrics.OLDEST, "queue", _CHOSEN),),
        ),
        Panel(
            title="Jobs done",
            text="Jobs that are done in a second, by type.",
            unit="ops",
            queries=(_rate(metrics.SETTLED, "queue, type", f'{_CHOSEN},outcome="done"'),),
        ),
        Panel(
            title="Wait",
            text="From being enqueued, or due, to the run.",
            unit="s",
            queries=_quantiles(metrics.WAIT_SECONDS, "queue, type"),
        ),
        Panel(
            title="Run",
            text="Of all runs, whatever their outcome.",
            unit="s",
            queries=_quantiles(metrics.RUN_SECONDS, "queue, type"),
        ),
        Panel(
            title="What holds jobs back",
            text="Jobs that may not run now, by reason.",
            unit="short",
            queries=(_sum(metrics.WAITING, "queue, reason", _CHOSEN),),
        ),
        Panel(
            title="Runners busy",
            text="At 100 % more workers or runners help.",
            unit="percentunit",
            queries=(_busy("queue, kind", _CHOSEN),),
        ),
        Panel(
            title="Jobs at the workers",
            text="Jobs that are taken, and those that could run, were a runner free.",
            unit="short",
            queries=(
                Query(expr=_sum(metrics.IN_FLIGHT, "queue", _CHOSEN).expr, legend="{{queue}} taken"),
                Query(expr=_sum(metrics.READY, "queue", _CHOSEN).expr, legend="{{queue}} ready"),
            ),
        ),
        Panel(
            title="Settling",
            text="From the end of a batch's first run until its outcomes are durable.",
            unit="s",
            queries=_quantiles(metrics.OPERATION_SECONDS, "queue"),
        ),
        Panel(
            title="Limits",
            text="How much of each limit is used that counts all its jobs together, and how much there is.",
            unit="short",
            queries=(
                Query(expr=_max(metrics.LIMIT_USED, "queue, limit", _CHOSEN).expr, legend="{{queue}} {{limit}} used"),
                Query(expr=_max(metrics.LIMIT_MOST, "queue, limit", _CHOSEN).expr, legend="{{queue}} {{limit}} most"),
            ),
        ),
    ),
)
FAILURES: Final = Dashboard(
    name="failures",
    uid="stoker-failures",
    title="Stoker: failures",
    text="What fails, what is dead, and what cannot be written.",
    by_queue=True,
    panels=(
        Panel(
            title="Ratio of runs that fail",
            text="Retries and dead letters among all runs, by type.",
            unit="percentunit",
            queries=(_failure_ratio(),),
        ),
        Panel(
            title="Outcomes",
            text="Records with a durable outcome in a second.",
            unit="ops",
            queries=(_rate(metrics.SETTLED, "queue, outcome", _CHOSEN),),
        ),
        Panel(
            title="Retries",
            text="Runs that failed and are repeated, in a second.",
            unit="ops",
            queries=(_rate(metrics.SETTLED, "queue, type", f'{_CHOSEN},outcome="retried"'),),
        ),
        Panel(
            title="Dead letters",
            text="Jobs that became dead letters in a second, by reason.",
            unit="ops",
            queries=(_rate(metrics.SETTLED, "queue, type, reason", f'{_CHOSEN},outcome="dead"'),),
        ),
        Panel(
            title="Breakers",
            text="1 for the state in which a process sees a breaker.",
            unit="short",
            queries=(_max(metrics.BREAKER, "breaker, state"),),
        ),
        Panel(
            title="Jobs past their timeout",
            text="Jobs that cannot be ended.",
            unit="short",
            queries=(_sum(metrics.STUCK, "queue", _CHOSEN),),
        ),
        Panel(
            title="Outcomes that cannot be written",
            text="Stranded: until somebody acts. Refused: 1 while the brokers take none.",
            unit="short",
            queries=(
                Query(expr=_sum(metrics.STRANDED, "queue", _CHOSEN).expr, legend="{{queue}} stranded"),
                Query(expr=_max(metrics.UNWRITABLE, "queue", _CHOSEN).expr, legend="{{queue}} refused"),
            ),
        ),
        Panel(
            title="Events given up",
            text="Events that could not be written, in a second.",
            unit="ops",
            queries=(_rate(metrics.EVENTS_GIVEN_UP, "queue", _CHOSEN),),
        ),
    ),
)
SERVICES: Final = Dashboard(
    name="services",
    uid="stoker-services",
    title="Stoker: schedules, outboxes, index",
    text="What stands beside the workers: where jobs come from, and where people look for them.",
    by_queue=False,
    panels=(
        Panel(
            title="Schedules",
            text="Schedules that fire, by queue.",
            unit="short",
            kind="stat",
            width=8,
            queries=(_sum(metrics.SCHEDULES, "queue"),),
        ),
        Panel(
            title="Relays that work",
            text="One for each outbox.",
            unit="short",
            kind="stat",
            width=8,
            queries=(_sum(metrics.OUTBOX_LEADS, "table"),),
        ),
        Panel(
            title="Index behind",
            text="Records that are still to be read.",
            unit="short",
            kind="stat",
            width=8,
            queries=(_max(metrics.INDEX_BEHIND, "instance"),),
        ),
        Panel(
            title="Overdue schedules",
            text="For how long the instant that is overdue the most has waited.",
            unit="s",
            queries=(_max(metrics.SCHEDULE_OVERDUE, "queue"),),
        ),
        Panel(
            title="Instants",
            text="What becomes of the instants of schedules, in a second.",
            unit="ops",
            queries=(_rate(metrics.SCHEDULE_INSTANTS, "queue, outcome"),),
        ),
        Panel(
            title="Rows of outboxes",
            text="Those that wait, those that failed, and those behind them.",
            unit="short",
            queries=(_sum(metrics.OUTBOX_ROWS, "table, state"),),
        ),
        Panel(
            title="Age of the oldest row",
            text="Of any state.",
            unit="s",
            queries=(_max(metrics.OUTBOX_OLDEST, "table"),),
        ),
        Panel(
            title="Rows published",
            text="Rows that relays publish in a second.",
            unit="ops",
            queries=(_rate(metrics.OUTBOX_PUBLISHED, "table"),),
        ),
        Panel(
            title="Jobs enqueued",
            text="Jobs that producers send in a second, by type.",
            unit="ops",
            queries=(_rate(metrics.SENT, "queue, type"),),
        ),
        Panel(
            title="Jobs refused",
            text="Jobs that producers refuse, or that are not confirmed, in a second.",
            unit="ops",
            queries=(_rate(metrics.ENQUEUE_FAILED, "queue, type, error_type"),),
        ),
        Panel(
            title="Records read into the index",
            text="In a second.",
            unit="ops",
            queries=(_rate(metrics.INDEX_READ, "instance"),),
        ),
    ),
)
DASHBOARDS: Final = (FLEET, QUEUE, FAILURES, SERVICES)
