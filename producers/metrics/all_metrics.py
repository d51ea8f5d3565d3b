"""All metrics of Stoker, in one list: no other appears on any page. `docs/metrics.md` has the table that is made of it.

A name follows OpenTelemetry's conventions for messaging where these have one for the fact, with their labels
`messaging_system` and `messaging_operation_name`; else it begins with `stoker_`. No label is a key, a job id or a
tenant: each takes its values from what the pipeline declares, or from a short list. `pipeline` is a label of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

WAIT_BOUNDS_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0),
)
RUN_BOUNDS_S: Final = (
    *(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0),
)
"""From a call of a cache to a report of the night; the conventions' own bounds end at 10 s."""
OPERATION_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TURN_BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

PIPELINE: Final = "pipeline"
"""A label of every metric, whose value is the namespace. Kubernetes' targets have a label `namespace` of their own, so
Prometheus would rename one of ours."""
KAFKA: Final = "kafka"
OPERATION: Final = ("messaging_system", "messaging_operation_name")
"""The labels that the conventions require."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric; the list has each of them once, so it is equal to itself alone.

    Attributes:
        name: as Prometheus has it.
        unit: of the values, in words; `s` for seconds, `By` for bytes.
        labels: names of its labels beside `PIPELINE`, in the order of a sample's values.
        text: what it counts, in a sentence.
        bounds: upper bounds of a histogram's buckets, but for the last one, which has none.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    text: str
    bounds: tuple[float, ...] = ()


RUN_SECONDS: Final = Metric(
    name="messaging_process_duration_seconds",
    kind="histogram",
    unit="s",
    labels=(*OPERATION, "queue", "type"),
    text="How long a run of a job took, whatever its outcome.",
    bounds=RUN_BOUNDS_S,
)
CONSUMED: Final = Metric(
    name="messaging_client_consumed_messages_total",
    kind="counter",
    unit="records",
    labels=(*OPERATION, "queue"),
    text="Records fetched, of all topics of the queue. Waiting ones that are read again are not counted.",
)
OPERATION_SECONDS: Final = Metric(
    name="messaging_client_operation_duration_seconds",
    kind="histogram",
    unit="s",
    labels=(*OPERATION, "queue"),
    text="How long an operation took. `settle`: from the end of a batch's first run until its outcomes are durable. "
    "`enqueue`: from the call of a producer until the brokers have confirmed it, without those of bulks.",
    bounds=OPERATION_BOUNDS_S,
)
SENT: Final = Metric(
    name="messaging_client_sent_messages_total",
    kind="counter",
    unit="jobs",
    labels=(*OPERATION, "queue", "type"),
    text="Jobs that a producer has handed to its Kafka client.",
)
ENQUEUE_FAILED: Final = Metric(
    name="stoker_enqueue_failures_total",
    kind="counter",
    unit="jobs",
    labels=("queue", "type", "error_type"),
    text="Jobs that a producer has refused, or that were not confirmed, by the class of the error.",
)
SPOOLED: Final = Metric(
    name="stoker_spooled_jobs", kind="gauge", unit="jobs", labels=(), text="Jobs that wait in a producer's spool."
)
WAIT_SECONDS: Final = Metric(
    name="stoker_job_wait_seconds",
    kind="histogram",
    unit="s",
    labels=("queue", "type"),
    text="How long a job waited for its run: since it was enqueued or, of a delayed or retried job, since it was due.",
    bounds=WAIT_BOUNDS_S,
)
SETTLED: Final = Metric(
    name="stoker_jobs_settled_total",
    kind="counter",
    unit="records",
    labels=("queue", "type", "outcome", "reason"),
    text="Records with a durable outcome, and `interrupted` ones, which are delivered again. `retried`: runs that "
    "failed and are repeated; `dead`: dead letters; `skipped`: the ledger had the job already, or its copy of another "
    "priority runs. The reason is that of dead, cancelled and deferred ones; `limited` of a snoozed one whose job "
    "raised `RateLimited`.",
)
UNFINISHED: Final = Metric(
    name="stoker_queue_unfinished",
    kind="gauge",
    unit="records",
    labels=("queue",),
    text="Records of this process's partitions without outcome, on all topics of the queue: delayed jobs and retries "
    "are included. The sum over its workers is that of the queue.",
)
GROWTH: Final = Metric(
    name="stoker_queue_growth",
    kind="gauge",
    unit="records/s",
    labels=("queue",),
    text="How fast `stoker_queue_unfinished` grew over the last minute, or since the partitions changed; negative "
    "while jobs are worked off.",
)
OLDEST: Final = Metric(
    name="stoker_queue_oldest_age_seconds",
    kind="gauge",
    unit="s",
    labels=("queue",),
    text="How long ago the oldest job without outcome was enqueued, of the partitions of this process. Delayed jobs "
    "and retries are left out.",
)
IN_FLIGHT: Final = Metric(
    name="stoker_jobs_in_flight",
    kind="gauge",
    unit="jobs",
    labels=("queue",),
    text="Jobs in memory that were taken and are not yet settled. Those that wait are included: `--max-in-flight` does "
    "not count them, so there may be several times as many.",
)
WAITING: Final = Metric(
    name="stoker_jobs_waiting",
    kind="gauge",
    unit="jobs",
    labels=("queue", "reason"),
    text="Jobs known to this process that may not run now. `key`: behind an earlier one of their key; `due`: delayed; "
    "`gate:<word>`: held by a gate, such as `gate:paused`, `gate:limited` or `gate:breaker`.",
)
READY: Final = Metric(
    name="stoker_jobs_ready",
    kind="gauge",
    unit="jobs",
    labels=("queue",),
    text="Jobs that could run, were a runner free.",
)
STUCK: Final = Metric(
    name="stoker_jobs_stuck",
    kind="gauge",
    unit="jobs",
    labels=("queue",),
    text="Jobs that go on past their timeout and cannot be ended.",
)
STRANDED: Final = Metric(
    name="stoker_outcomes_stranded",
    kind="gauge",
    unit="outcomes",
    labels=("queue",),
    text="Outcomes that cannot be written until a person fixes something, such as a missing topic or right.",
)
UNWRITABLE: Final = Metric(
    name="stoker_outcomes_unwritable",
    kind="gauge",
    unit="0 or 1",
    labels=("queue",),
    text="Whether the brokers take no outcomes at this moment.",
)
RUNNERS: Final = Metric(
    name="stoker_runners",
    kind="gauge",
    unit="jobs",
    labels=("queue", "kind"),
    text="How many jobs may run at once: in threads, on the event loop (`async`), in child processes (`isolated`).",
)
BUSY: Final = Metric(
    name="stoker_runners_busy",
    kind="gauge",
    unit="jobs",
    labels=("queue", "kind"),
    text="How many run. Divided by `stoker_runners` it is the saturation.",
)
PARTITIONS: Final = Metric(
    name="stoker_partitions",
    kind="gauge",
    unit="partitions",
    labels=("queue", "state"),
    text="Partitions of all topics of the queue at this process: `restoring`, `running` or `leaving`.",
)
FETCHING_PAUSED: Final = Metric(
    name="stoker_fetching_paused",
    kind="gauge",
    unit="0 or 1",
    labels=("queue",),
    text="Whether fetching rests, because the bounds on jobs in flight are reached.",
)
TURN_SECONDS: Final = Metric(
    name="stoker_poll_interval_seconds",
    kind="histogram",
    unit="s",
    labels=("queue",),
    text="Time from one turn of the poll thread to the next.",
    bounds=TURN_BOUNDS_S,
)
TURN_AGE: Final = Metric(
    name="stoker_poll_age_seconds",
    kind="gauge",
    unit="s",
    labels=("queue",),
    text="How long ago the poll thread turned last. From 60 s on it hangs, and the process is not live.",
)
REBALANCES: Final = Metric(
    name="stoker_rebalances_total",
    kind="counter",
    unit="changes",
    labels=("queue", "change"),
    text="How often the group has `assigned` or `revoked` partitions, or this process has `lost` them.",
)
COMMITS: Final = Metric(
    name="stoker_commits_total",
    kind="counter",
    unit="commits",
    labels=("queue", "answer"),
    text="Commits of offsets, `taken` or `refused` by the brokers.",
)
CHILDREN: Final = Metric(
    name="stoker_children",
    kind="gauge",
    unit="processes",
    labels=("queue", "state"),
    text="Child processes for isolated jobs: `busy`, `idle` or `starting`.",
)
CHILDREN_ENDED: Final = Metric(
    name="stoker_children_ended_total",
    kind="counter",
    unit="processes",
    labels=("queue",),
    text="Child processes that have ended, for whatever reason.",
)
CRASHES: Final = Metric(
    name="stoker_crashes_total",
    kind="counter",
    unit="crashes",
    labels=("queue",),
    text="Crashes of isolated jobs: a child process died while the job ran, or three died before it began.",
)
LIMIT_USED: Final = Metric(
    name="stoker_limit_used",
    kind="gauge",
    unit="jobs",
    labels=("queue", "limit"),
    text="How much of a limit is used that counts all its jobs together, at the process that keeps it.",
)
LIMIT_MOST: Final = Metric(
    name="stoker_limit_most", kind="gauge", unit="jobs", labels=("queue", "limit"), text="How much there is of it."
)
LIMIT_SCOPES: Final = Metric(
    name="stoker_limit_scopes",
    kind="gauge",
    unit="scopes",
    labels=("queue", "limit", "state"),
    text="Scopes of a limit, such as its keys or tenants, of which something is `used`, and those that are `full`.",
)
BREAKER: Final = Metric(
    name="stoker_breaker_state",
    kind="gauge",
    unit="0 or 1",
    labels=("breaker", "state"),
    text="1 for the state in which this process sees a breaker: `closed`, `open` or `half-open`.",
)
EVENTS_GIVEN_UP: Final = Metric(
    name="stoker_events_given_up_total",
    kind="counter",
    unit="events",
    labels=("queue",),
    text="Events that could not be written: statistics have gaps, jobs have none.",
)
MEMORY: Final = Metric(
    name="stoker_memory_bytes",
    kind="gauge",
    unit="By",
    labels=(),
    text="Resident memory of this process, without its children.",
)
INFO: Final = Metric(
    name="stoker_process_info",
    kind="gauge",
    unit="1",
    labels=("process", "version", "release"),
    text="Always 1: the name of this process, the version of Stoker, and what `--release` has named.",
)
IS_READY: Final = Metric(
    name="stoker_ready", kind="gauge", unit="0 or 1", labels=(), text="Whether `/ready` answers that it is."
)
WORKERS_WANTED: Final = Metric(
    name="stoker_workers_wanted",
    kind="gauge",
    unit="workers",
    labels=("queue",),
    text="How many workers a queue needs, of `stoker scale`. Where too little is known, as many as there are.",
)
BACKLOG_ETA: Final = Metric(
    name="stoker_backlog_eta_seconds",
    kind="gauge",
    unit="s",
    labels=("queue",),
    text="In what time the backlog is gone with the present workers, of `stoker scale`; `+Inf` if it does not shrink.",
)

INDEX_READ: Final = Metric(
    name="stoker_index_read_total",
    kind="counter",
    unit="records",
    labels=(),
    text="Records and events that this process has read into the index.",
)
INDEX_BEHIND: Final = Metric(
    name="stoker_index_behind", kind="gauge", unit="records", labels=(), text="Records that are still to be read."
)
INDEX_RECONCILED: Final = Metric(
    name="stoker_index_reconciled_total",
    kind="counter",
    unit="jobs",
    labels=(),
    text="Jobs that only the ledger had as ended: their events were lost.",
)
INDEX_FORGOTTEN: Final = Metric(
    name="stoker_index_forgotten_total",
    kind="counter",
    unit="jobs",
    labels=(),
    text="Jobs that were deleted from the index since they are older than `--keep`.",
)
INDEX_BYTES: Final = Metric(
    name="stoker_index_size_bytes", kind="gauge", unit="By", labels=(), text="Size of the index on disk."
)
SCHEDULES: Final = Metric(
    name="stoker_schedules",
    kind="gauge",
    unit="schedules",
    labels=("queue",),
    text="Schedules that this process fires, as the owner of the queue's first partition; without paused ones.",
)
SCHEDULE_OVERDUE: Final = Metric(
    name="stoker_schedule_overdue_seconds",
    kind="gauge",
    unit="s",
    labels=("queue",),
    text="For how long the instant that is overdue the most has waited to be fired by this process; 0 where none is.",
)
SCHEDULE_INSTANTS: Final = Metric(
    name="stoker_schedule_instants_total",
    kind="counter",
    unit="instants",
    labels=("queue", "outcome"),
    text="Instants of schedules that this process has dealt with. `fired`: within the schedule's grace; "
    "`missed_fired`: fired after it; `missed_left_out`: left out, since no worker was there in time; `overlap`: left "
    "out, since the job before had not ended.",
)
OUTBOX_PUBLISHED: Final = Metric(
    name="stoker_outbox_published_total",
    kind="counter",
    unit="rows",
    labels=("table",),
    text="Rows that this relay has published and deleted.",
)
OUTBOX_LEADS: Final = Metric(
    name="stoker_outbox_leads",
    kind="gauge",
    unit="0 or 1",
    labels=("table",),
    text="Whether this relay works; of several for one table, one does.",
)
OUTBOX_TROUBLE: Final = Metric(
    name="stoker_outbox_trouble",
    kind="gauge",
    unit="0 or 1",
    labels=("table",),
    text="Whether this relay works and cannot publish now.",
)
OUTBOX_ROWS: Final = Metric(
    name="stoker_outbox_rows",
    kind="gauge",
    unit="rows",
    labels=("table", "state"),
    text="Rows of the outbox, which the relay that works counts four times a minute, up to 100,000. `waiting`: to be "
    "published next; `failed`: could not be published, and are tried again; `behind`: wait for a failed one of "
    "their key.",
)
OUTBOX_OLDEST: Final = Metric(
    name="stoker_outbox_oldest_age_seconds",
    kind="gauge",
    unit="s",
    labels=("table",),
    text="How long ago the oldest row of the outbox was enqueued, whatever its state; of the relay that works.",
)

METRICS: Final = (
    *(RUN_SECONDS, WAIT_SECONDS, OPERATION_SECONDS, SETTLED, CONSUMED),
    *(UNFINISHED, GROWTH, OLDEST, IN_FLIGHT, READY, WAITING, STUCK, STRANDED, UNWRITABLE),
    *(RUNNERS, BUSY, CHILDREN, CHILDREN_ENDED, CRASHES),
    *(PARTITIONS, FETCHING_PAUSED, TURN_SECONDS, TURN_AGE, REBALANCES, COMMITS),
    *(SENT, ENQUEUE_FAILED, SPOOLED),
    *(INDEX_READ, INDEX_BEHIND, INDEX_RECONCILED, INDEX_FORGOTTEN, INDEX_BYTES),
    *(SCHEDULES, SCHEDULE_OVERDUE, SCHEDULE_INSTANTS),
    *(OUTBOX_PUBLISHED, OUTBOX_LEADS, OUTBOX_TROUBLE, OUTBOX_ROWS, OUTBOX_OLDEST),
    *(LIMIT_USED, LIMIT_MOST, LIMIT_SCOPES, BREAKER, EVENTS_GIVEN_UP, MEMORY, INFO, IS_READY),
    *(WORKERS_WANTED, BACKLOG_ETA),
)
"""All of them, in the order of the documents."""
