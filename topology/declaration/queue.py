"""`Queue`: one declared stream of jobs, with the shape of its topics and the defaults of its job types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

from ..ownership.owned import late_after_s, ownership_faults
from ..ownership.slo import Slo
from ..ownership.story import Follower
from ..wire import names
from .breakers import DeadGuard
from .delays import DelayClass
from .fairness import Divider, FairBy
from .limits import limit_faults
from .priorities import NORMAL, priority_faults
from .retries import DEFAULT_TIERS, RetryPolicy, tier_faults

if TYPE_CHECKING:
    from .limits import Limit
    from .unique import Unique

Ordering = Literal["key", "none", "strict"]
RouteBy = Literal["key", "tenant"]
WhenFull = Literal["refuse", "wait"]


SHORTEST_SESSION: Final = timedelta(seconds=1)
"""A shorter pause is nothing special: of the network, of a garbage collector, of a machine with much to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerWindow:
    """How much of the past a partition's ledger remembers; a repeated job inside the window is not run again.

    Attributes:
        jobs: completed jobs remembered for each partition, some 30 bytes of memory each.
        age: how long a completed job is remembered at the most.
    """

    jobs: int = 50_000
    age: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue: the topics of its jobs, its dead letters, ledger and progress, processed by one consumer group.

    Attributes:
        namespace: prefix of all its topics, the pipeline's.
        name: the queue's own part of the topic names.
        partitions: how far it spreads over workers; all its topics have as many. Changing it
            moves keys to other partitions, so choose with room to grow.
        replication: replicas of each record; None takes the cluster's default.
        retention: how long the topics of its jobs keep a record. Workers write waiting jobs again before that; while
            no worker runs, older jobs are lost, so it must exceed the longest outage you want to survive.
        dead_retention: how long dead letters are kept.
        tiers: the delays of the retry topics, ascending.
        ordering: "key" runs the jobs of a key one at a time in their order, where a job that waits in a retry tier is
            passed by later ones of its key: a failure delays that job alone. "strict" keeps the order through retries
            as well: later jobs of the key wait until the one before is done or a dead letter, so a failure delays its
            key for as long as the retries take. What waits takes a few bytes of the worker's memory. "none" spreads
            jobs freely, whatever their key.
        route_by: "key": a job's partition follows from its key. "tenant": it follows from the tenant, so one worker has
            all jobs of a tenant, and they run in the order of their keys; a job without a tenant goes by its key.
            Changing it moves jobs to other partitions.
        retry: what failures of its jobs meet, unless the job type declares its own.
        timeout: how long one run may take, unless the job type declares its own.
        max_payload_bytes: encoded payloads above this are refused at enqueue, unless the job type declares its own.
        crash_limit: a job during whose runs a process has died so often is quarantined among the dead letters; below
            it, it runs again, at no attempt's cost.
        ledger: the window of remembered jobs.
        session_timeout: how soon the group detects that a worker was killed; its partitions stand still until then.
            None leaves it to the brokers, 45 s by default. Less than that needs
            `group.consumer.min.session.timeout.ms` on the brokers.
        limits: how often its jobs may begin, and how many may run at once (`Rate`, `Concurrency`); all of them hold.
        max_waiting: the queue is full while so many jobs wait on its main topic and in its retry tiers, carried ones
            included, running ones too; jobs that are delayed by intent do not count. Producers learn of it within a
            second. None sets no bound.
        when_full: "refuse": `enqueue` raises `QueueFull`. "wait": it waits for room, for `ProducerSettings.full_wait`
            at the most, and raises then. Retries, schedules, outbox relays, replays and jobs of other clients are
            always admitted.
        dead_guard: how many dead letters of one of its job types pause that type, unless it declares its own.
        fair_by: "tenant" shares the runners of each worker process among the tenants that have work there, whatever is
            ahead in the log; `FairBy("tenant", weights={"acme": 3})` gives some of them more. None runs jobs in the
            order in which they come.
        owner: who answers for its jobs, unless the job type declares its own; so too `runbook`, `slo`, `escalation`,
            `on_dead`, `on_late` and `late_after`.
        runbook: what to do when they fail: an URL, or a line of text.
        slo: what the owner promises of its jobs.
        escalation: whom to call when the owner does not answer, or how.
        on_dead: the job type that is enqueued once for each of its dead letters, with its `JobStory`; of another queue,
            which is declared before this one.
        on_late: the same for each of its jobs that is late.
        late_after: a job is late when it has waited for so long; None takes `slo.wait`.
        description: for the catalogue.
        priorities: {priority: weight}, the most urgent first, with "normal" among them, that of jobs which name none.
            Where jobs of several priorities are ready, runners start them in proportion to the weights, so none
            starves. Each has a topic of its own; normal jobs are on the main topic. The order per key holds within a
            priority.
        unique: {name of a job type: how its jobs are unique}; `Pipeline.job` fills it.
    """

    namespace: str
    name: str
    partitions: int = 8
    replication: int | None = None
    retention: timedelta = timedelta(days=7)
    dead_retention: timedelta = timedelta(days=30)
    tiers: tuple[timedelta, ...] = DEFAULT_TIERS
    ordering: Ordering = "key"
    route_by: RouteBy = "key"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: timedelta = timedelta(minutes=5)
    max_payload_bytes: int = 256 * 1024
    crash_limit: int = 3
    ledger: LedgerWindow = field(default_factory=LedgerWindow)
    session_timeout: timedelta | None = None
    limits: Sequence[Limit] = ()
    max_waiting: int | None = None
    when_full: WhenFull = "refuse"
    dead_guard: DeadGuard | None = None
    fair_by: FairBy | Divider | None = None
    owner: str = ""
    runbook: str = ""
    slo: Slo | None = None
    escalation: str = ""
    on_dead: Follower | None = None
    on_late: Follower | None = None
    late_after: timedelta | None = None
    description: str = ""
    priorities: Mapping[str, int] = field(default_factory=dict, hash=False)
    unique: dict[str, Unique] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def fairness(self) -> FairBy | None:
        """How its runners are shared; None where they are not."""
        return self.fair_by if self.fair_by is None or isinstance(self.fair_by, FairBy) else FairBy(self.fair_by)

    @property
    def topic(self) -> str:
        """The main topic."""
        return names.main_topic(self.namespace, self.name)

    @property
    def carried_topic(self) -> str:
        """The topic of waiting jobs that were carried forward."""
        return names.carried_topic(self.namespace, self.name)

    @property
    def dead_topic(self) -> str:
        """The dead-letter topic."""
        return names.dead_topic(self.namespace, self.name)

    @property
    def ledger_topic(self) -> str:
        """The compacted topic of completed jobs."""
        return names.ledger_topic(self.namespace, self.name)

    @property
    def progress_topic(self) -> str:
        """The compacted topic of what does not fit a commit."""
        return names.progress_topic(self.namespace, self.name)

    @property
    def limits_topic(self) -> str:
        """The topic of what owners of partitions reserve of limits by key and tenant."""
        return names.limits_topic(self.namespace, self.name)

    @property
    def group(self) -> str:
        """The consumer group."""
        return names.group_id(self.namespace, self.name)

    @property
    def retry_topics(self) -> dict[timedelta, str]:
        """{delay: topic}, ascending by delay."""
        return {tier: names.retry_topic(self.namespace, self.name, tier) for tier in self.tiers}

    @property
    def delay_topics(self) -> dict[DelayClass, str]:
        """{class of delay: topic}, ascending by delay. A queue has all of them, whatever it declares."""
        return {name: names.delay_topic(self.namespace, self.name, name) for name in DelayClass}

    @property
    def late_s(self) -> float | None:
        """After how many seconds of waiting a job of no declared type is late; None where nothing follows that."""
        return late_after_s(self)

    @property
    def admission_topics(self) -> list[str]:
        """The topics whose unfinished jobs count for `max_waiting`."""
        return [*self.entry_topics, *self.retry_topics.values(), self.carried_topic]

    @property
    def priority_topics(self) -> dict[str, str]:
        """{priority: topic}, the most urgent first, of all but the normal one."""
        others = (priority for priority in self.priorities if priority != NORMAL)
        return {priority: names.priority_topic(self.namespace, self.name, priority) for priority in others}

    @property
    def entry_topics(self) -> list[str]:
        """The topics that producers publish its jobs to, the main topic first."""
        return [self.topic, *self.priority_topics.values()]

    def topic_of(self, priority: str | None) -> str:
        """The topic that jobs of a priority are published to: the main one, unless the queue declares the priority."""
        return self.topic if priority is None else self.priority_topics.get(priority, self.topic)

    @property
    def waiting_topics(self) -> list[str]:
        """The topics in which its jobs wait: retry tiers, delays, and what was carried forward."""
        return [*self.retry_topics.values(), *self.delay_topics.values(), self.carried_topic]

    @property
    def job_topics(self) -> list[str]:
        """The topics whose records are jobs to run, the main topic first."""
        return [*self.entry_topics, *self.waiting_topics]

    def faults(self) -> list[str]:
        """List what is wrong with the declaration; empty when all is well."""
        found = [*tier_faults(self.tiers), *self.retry.faults(), *unknown_tiers(self.retry, self.tiers)]
        found += [] if self.fairness is None else self.fairness.faults(self.priorities)
        found += _admission_faults(self.max_waiting, self.when_full)
        found += self.dead_guard.faults() if self.dead_guard is not None else []
        found += priority_faults(self.priorities, is_strict=self.ordering == "strict")
        found += ownership_faults(self)
        return [*found, *self._shape_faults(), *self._window_faults(), *limit_faults(self.name, self.limits, self)]

    def _shape_faults(self) -> list[str]:
        found = []
        if self.partitions < 1:
            found.append(f"partitions must be at least 1; it is {self.partitions}")
        if self.ordering not in get_args(Ordering):
            found.append(f"ordering must be one of {', '.join(get_args(Ordering))}; it is {self.ordering!r}")
        if self.route_by not in get_args(RouteBy):
            found.append(f"route_by must be one of {', '.join(get_args(RouteBy))}; it is {self.route_by!r}")
        if self.timeout <= timedelta(0):
            found.append(f"timeout must be above zero; it is {self.timeout}")
        if self.crash_limit < 1:
            found.append(f"crash_limit must be at least 1; it is {self.crash_limit}")
        return found

    def _window_faults(self) -> list[str]:
        found = []
        if self.tiers and max(self.tiers) >= self.retention:
            found.append(f"retention ({self.retention}) must exceed the longest tier ({max(self.tiers)})")
        if self.ledger.jobs < 1 or self.ledger.age <= timedelta(0):
            found.append("the ledger's window must hold at least one job and some time")
        if self.session_timeout is not None and self.session_timeout < SHORTEST_SESSION:
            found.append(f"session_timeout must be at least {SHORTEST_SESSION}; it is {self.session_timeout}")
        return found


def _admission_faults(max_waiting: int | None, when_full: str) -> list[str]:
    """List what is wrong with a queue's `max_waiting` and `when_full`."""
    found = []
    if when_full not in get_args(WhenFull):
        found.append(f"when_full must be one of {', '.join(get_args(WhenFull))}; it is {when_full!r}")
    if max_waiting is not None and max_waiting < 1:
        found.append(f"max_waiting must be at least 1; it is {max_waiting}. None sets no bound")
    if max_waiting is None and when_full == "wait":
        found.append("when_full='wait' needs max_waiting: without a bound, the queue is never full")
    return found


def unknown_tiers(policy: RetryPolicy, tiers: tuple[timedelta, ...]) -> list[str]:
    """Name the tiers of a policy that its queue has no topic for."""
    missing = [str(tier) for tier in policy.tiers or () if tier not in tiers]
    return [f"the retry policy names tiers that the queue does not have: {', '.join(missing)}"] if missing else []
