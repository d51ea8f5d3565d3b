"""All alerts that need no declaration, in one list. `docs/monitoring.md` has a runbook for each."""

from __future__ import annotations

from typing import Final

from ...producers.metrics import all_metrics as metrics
from .alert import Alert, RecordingRule

_SETTLED: Final = metrics.SETTLED.name
_ENDED: Final = f'{_SETTLED}{{outcome=~"done|dead|cancelled|skipped"}}'
_RUNS: Final = f'{_SETTLED}{{outcome=~"done|retried|dead"}}'
_FAILED: Final = f'{_SETTLED}{{outcome=~"retried|dead"}}'
_DEAD: Final = f'{_SETTLED}{{outcome="dead"}}'
_LEADS: Final = metrics.OUTBOX_LEADS.name
_MISSED: Final = f'{metrics.SCHEDULE_INSTANTS.name}{{outcome=~"missed_fired|missed_left_out"}}'
_RUNNING: Final = f'{metrics.PARTITIONS.name}{{state="running"}}'
_ALL_RUNS: Final = f"sum by (pipeline, queue, type) (rate({_RUNS}[10m]))"

BACKLOG: Final = RecordingRule(
    name="stoker:queue_backlog:sum",
    expr=f"clamp_min(sum by (pipeline, queue) ({metrics.UNFINISHED.name}) - (sum by (pipeline, queue) "
    f'({metrics.WAITING.name}{{reason="due"}}) or 0 * sum by (pipeline, queue) ({metrics.UNFINISHED.name})), 0)',
)
"""Jobs without outcome, but for those that are known to be delayed."""
ENDED: Final = RecordingRule(
    name="stoker:jobs_ended:rate10m",
    expr=f"sum by (pipeline, queue) (rate({_ENDED}[10m])) or 0 * sum by (pipeline, queue) ({metrics.UNFINISHED.name})",
)
"""Jobs that end in a second; 0 where a worker has ended none yet."""
FAILURES: Final = RecordingRule(
    name="stoker:failed_runs:ratio10m",
    expr=f"(sum by (pipeline, queue, type) (rate({_FAILED}[10m])) or 0 * {_ALL_RUNS}) / ({_ALL_RUNS} > 0)",
)
"""The ratio of runs that fail, by job type; no value while none run, so that averages over it stay numbers."""
RECORDINGS: Final = (BACKLOG, ENDED, FAILURES)

_ENOUGH_RUNS: Final = f"sum by (pipeline, queue, type) (increase({_RUNS}[10m])) >= 20"
_PAST_FAILURES: Final = f"(avg_over_time({FAILURES.name}[1d] offset 30m) or 0 * {FAILURES.name})"
_BY_ORDER: Final = "gate:paused|gate:blocked|gate:breaker"
_HELD: Final = f'sum by (pipeline, queue) ({metrics.WAITING.name}{{reason=~"{_BY_ORDER}"}}) > 0'
_MAY_RUN: Final = " or ".join(f"sum by (pipeline, queue) ({found.name}) > 0" for found in (metrics.READY, metrics.BUSY))
_ONLY_HELD: Final = f"({_HELD} unless ({_MAY_RUN}))"
_OLDEST: Final = f"max by (pipeline, queue) ({metrics.OLDEST.name})"


def _within_30m(counter: str) -> str:
    """How much was counted in half an hour, by type: also what a worker that is new had counted before it was seen."""
    began = f"{counter} unless last_over_time({counter}[1h] offset 30m)"
    return f"sum by (pipeline, queue, type) (({began}) or increase({counter}[30m]))"


ALERTS: Final = (
    Alert(
        name="StokerNoWorker",
        severity="critical",
        expr=f"sum by (pipeline, queue) (max_over_time({_RUNNING}[1h])) > 0 "
        f"unless sum by (pipeline, queue) ({_RUNNING}) > 0",
        lasts="3m",
        summary="No worker has partitions of queue {{ $labels.queue }}",
        description="A worker had some within the last hour, and now none has. Jobs are kept, and none runs.",
    ),
    Alert(
        name="StokerQueueStandsStill",
        severity="critical",
        expr=f"{BACKLOG.name} > 0 and {ENDED.name} == 0 and {_OLDEST} > 600 unless {_ONLY_HELD}",
        lasts="5m",
        summary="Queue {{ $labels.queue }} has a backlog, and no job ends",
        description="{{ $value }} jobs wait, the oldest for more than ten minutes, and for ten minutes none has ended. "
        "Queues of which all that waits is paused, blocked, or waits for a breaker, are left out.",
    ),
    Alert(
        name="StokerOldestJobWaits",
        severity="warning",
        expr=f"{_OLDEST} > 900",
        lasts="5m",
        summary="The oldest job of queue {{ $labels.queue }} was enqueued {{ $value | humanizeDuration }} ago",
        description="Delayed jobs and retries are left out: this job could have run.",
    ),
    Alert(
        name="StokerBacklogGrows",
        severity="warning",
        expr=f"{BACKLOG.name} > 600 * {ENDED.name} and {BACKLOG.name} > 100 and deriv({BACKLOG.name}[15m]) > 0",
        lasts="10m",
        summary="The backlog of queue {{ $labels.queue }} grows faster than it is worked off",
        description="{{ $value }} jobs wait. At the rate of now that is more than ten minutes of work, and it grows.",
    ),
    Alert(
        name="StokerFailuresRise",
        severity="warning",
        expr=f"{FAILURES.name} > 0.05 and {FAILURES.name} <= 0.5 and {FAILURES.name} > 3 * {_PAST_FAILURES} "
        f"and {_ENOUGH_RUNS}",
        lasts="10m",
        summary="{{ $value | humanizePercentage }} of the runs of {{ $labels.type }} fail, far more than yesterday",
        description="Most runs are well, so retries are likely to help: a dependency that fails now and then, or "
        "some payloads that are wrong.",
    ),
    Alert(
        name="StokerMostRunsFail",
        severity="critical",
        expr=f"{FAILURES.name} > 0.5 and {_ENOUGH_RUNS}",
        lasts="5m",
        summary="{{ $value | humanizePercentage }} of the runs of {{ $labels.type }} fail",
        description="This is systemic: a release, a setting or a dependency that is down. Retries will not help, and "
        "jobs become dead letters when their attempts are spent.",
    ),
    Alert(
        name="StokerDeadLetters",
        severity="warning",
        expr=f"{_within_30m(_DEAD)} >= 5 and {_within_30m(_DEAD)} > 0.01 * {_within_30m(_ENDED)}",
        lasts="2m",
        summary="{{ $value | humanize }} jobs of {{ $labels.type }} became dead letters within 30 minutes",
        description="That is more than one of a hundred of its jobs. They wait in the dead letters of queue "
        "{{ $labels.queue }} until somebody replays or discards them.",
    ),
    Alert(
        name="StokerJobsStuck",
        severity="warning",
        expr=f"sum by (pipeline, queue) ({metrics.STUCK.name}) > 0",
        lasts="5m",
        summary="{{ $value }} jobs of queue {{ $labels.queue }} go on past their timeout",
        description="They cannot be ended, and each of them holds its key and a thread.",
    ),
    Alert(
        name="StokerChildrenCrash",
        severity="warning",
        expr=f"sum by (pipeline, queue) (increase({metrics.CRASHES.name}[15m])) >= 3",
        lasts="0m",
        summary="{{ $value | humanize }} child processes of queue {{ $labels.queue }} died within 15 minutes",
        description="A job kills its process again and again, most often by its memory.",
    ),
    Alert(
        name="StokerBreakerOpen",
        severity="warning",
        expr=f'max by (pipeline, breaker) ({metrics.BREAKER.name}{{state=~"open|half-open"}}) == 1',
        lasts="5m",
        summary="Breaker {{ $labels.breaker }} is open",
        description=(
            "What it guards is down, or an operator has opened it. Its jobs wait at no attempt's cost, and begin again "
            "by themselves; after `stoker control open` without `--until`, they do so with `stoker control close`."
        ),
    ),
    Alert(
        name="StokerOutcomesUnwritable",
        severity="critical",
        expr=f"max by (pipeline, queue) ({metrics.UNWRITABLE.name}) == 1",
        lasts="3m",
        summary="The brokers take no outcomes of queue {{ $labels.queue }}",
        description="Ledger, retries and dead letters cannot be written. No job is lost, but none is settled.",
    ),
    Alert(
        name="StokerOutcomesStranded",
        severity="critical",
        expr=f"sum by (pipeline, queue) ({metrics.STRANDED.name}) > 0",
        lasts="1m",
        summary="{{ $value }} outcomes of queue {{ $labels.queue }} cannot be written until somebody acts",
        description="A topic or a right is missing. Their partitions commit nothing beyond them.",
    ),
    Alert(
        name="StokerEventsLost",
        severity="warning",
        expr=f"sum by (pipeline, queue) (increase({metrics.EVENTS_GIVEN_UP.name}[5m])) > 0",
        lasts="7m",
        summary="Events of queue {{ $labels.queue }} cannot be written",
        description="{{ $value | humanize }} were given up within five minutes. Statistics and the index of jobs have "
        "a gap. No job is touched.",
    ),
    Alert(
        name="StokerScheduleMissed",
        severity="warning",
        expr=f"max by (pipeline, queue) ({metrics.SCHEDULE_OVERDUE.name}) > 120 or sum by (pipeline, queue) "
        f"((increase({_MISSED}[30m]) > 0) or ({_MISSED} > 0 unless {_MISSED} offset 30m)) > 0",
        lasts="3m",
        summary="A schedule of queue {{ $labels.queue }} does not fire in time",
        description="An instant is overdue, or within half an hour some were fired after their grace or left out.",
    ),
    Alert(
        name="StokerOutboxBehind",
        severity="warning",
        expr=f"max by (pipeline, table) ({metrics.OUTBOX_OLDEST.name}) > 120 unless max by (pipeline, table) "
        f"({metrics.OUTBOX_TROUBLE.name}) == 1",
        lasts="3m",
        summary="A row of outbox {{ $labels.table }} has waited for {{ $value | humanizeDuration }}",
        description="A relay works, but not fast enough, or some rows cannot be published.",
    ),
    Alert(
        name="StokerOutboxStalls",
        severity="critical",
        expr=f"max by (pipeline, table) ({metrics.OUTBOX_TROUBLE.name}) == 1 or "
        f"max by (pipeline, table) (max_over_time({_LEADS}[1h])) == 1 unless max by (pipeline, table) ({_LEADS}) == 1",
        lasts="5m",
        summary="No relay publishes the jobs of outbox {{ $labels.table }}",
        description="The relay that works cannot publish, or none works. Jobs wait in the table of the database.",
    ),
    Alert(
        name="StokerIndexBehind",
        severity="warning",
        expr=f"{metrics.INDEX_BEHIND.name} > 100000",
        lasts="15m",
        summary="The index at {{ $labels.instance }} has {{ $value | humanize }} records to read",
        description="`stoker jobs` and `stoker status` answer with what was. No job is touched.",
    ),
    Alert(
        name="StokerPollThreadHangs",
        severity="critical",
        expr=f"{metrics.TURN_AGE.name} > 60",
        lasts="1m",
        summary="The poll thread of queue {{ $labels.queue }} at {{ $labels.instance }} hangs",
        description="It has not turned for {{ $value | humanizeDuration }}: the process fetches and commits nothing, "
        "and the group gives its partitions to others.",
    ),
    Alert(
        name="StokerNotReady",
        severity="warning",
        expr=f"{metrics.IS_READY.name} == 0",
        lasts="10m",
        summary="The worker at {{ $labels.instance }} is not ready",
        description="`/ready` has the reason. A worker that restores its partitions needs seconds, not minutes.",
    ),
)
