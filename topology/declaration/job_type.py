"""`JobType`: one kind of job, declared by its handler function, and the calls of it that producers send.

The parameters of the handler are the parameters of the enqueue call, for type checkers as well, by ParamSpec.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import WRAPPER_ASSIGNMENTS, cached_property
from typing import Any, Final, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar

from ...schemas import Compatibility, Contract
from ...schemas.shapes.signature import annotated_function
from ..ownership.owned import late_after_s, ownership_faults
from ..ownership.slo import Slo
from ..ownership.story import Follower
from .breakers import Breaker, DeadGuard
from .isolation import Isolation, isolation_faults
from .labels import LabelDeclaration, LabelFunction, LabelPath, label_faults, made_label
from .limits import Cost, Limit, by_faults, cost_faults, limit_faults, made_by, named_limits
from .priorities import NORMAL, unknown_priority
from .queue import Queue, unknown_tiers
from .retries import RetryPolicy
from .unique import Unique, UniqueIdentity

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options that one enqueued job carries beside its arguments.

    Attributes:
        key: ordering key; jobs of one key run one at a time in their order. None means no order.
        tenant: for whom the job is; None takes what the job type makes of the arguments.
        job_id: the job's id; None makes a new UUIDv7. The same id completed twice within the ledger's window runs once.
        idempotency_key: like the id for the ledger, but not the identity of the job; equal keys run once.
        priority: one of the queue's `priorities`; None takes the job type's.
        delay: the job must not start before this time is over, counted from the enqueueing.
        at: the job must not start before this instant; one that is past already changes nothing.
        expires: the job ends as expired, without a run, when it could not start until then.
        source: the publishing service; None takes the producer's.
        headers: headers of the caller's own; Stoker's and CloudEvents' names are refused.
    """

    key: str | None = None
    tenant: str | None = None
    job_id: str | None = None
    idempotency_key: str | None = None
    priority: str | None = None
    delay: timedelta | None = None
    at: datetime | None = None
    expires: datetime | timedelta | None = None
    source: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_delayed(self) -> bool:
        """Whether the job is to start later."""
        return self.delay is not None or self.at is not None


NO_OPTIONS = CallOptions()


@dataclass(slots=True)
class JobCall:
    """One call of a job type with its arguments, to be enqueued; not frozen, since bulk makes one for each job."""

    job_type: AnyJobType
    args: tuple[object, ...]
    kwargs: dict[str, object]
    options: CallOptions = NO_OPTIONS

    @property
    def key(self) -> str | None:
        """The ordering key: the call's own, else what the job type makes of the arguments.

        Raises:
            LabelNotFound: it could not be made.
        """
        if self.options.key is not None:
            return self.options.key
        made_by = self.job_type.ordering_key
        return None if made_by is None else made_by.of(self.args, self.kwargs)

    @property
    def tenant(self) -> str | None:
        """For whom the job is: the call's own tenant, else what the job type makes of the arguments.

        Raises:
            LabelNotFound: it could not be made.
        """
        if self.options.tenant is not None:
            return self.options.tenant
        made_by = self.job_type.tenant_label
        return None if made_by is None else made_by.of(self.args, self.kwargs)


class RunLimits(NamedTuple):
    """How long one run may take, and how long it may be silent; `math.inf` where that is not limited.

    `first_s` is the lesser of the two: how long a run may take that sends no heartbeat.
    """

    timeout_s: float
    heartbeat_s: float
    first_s: float


NO_LIMITS: Final = RunLimits(math.inf, math.inf, math.inf)


class InvalidDeclaration(ValueError):
    """A declaration cannot be; all of its faults are named together."""

    def __init__(self, what: str, faults: list[str]) -> None:
        super().__init__(f"{what} is not declared well: {'; '.join(faults)}")
        self.what, self.faults = what, faults


@dataclass(frozen=True, kw_only=True, eq=False)
class JobType(Generic[P, R]):
    """One kind of job. Calling it calls the handler directly, in this process, without Kafka.

    Attributes:
        name: the stable name on the wire (`ce_type`); renaming the function does not change it once it is given.
        queue: where its jobs are published.
        handler: the function, sync or async.
        contract: the payload's Avro contract.
        key: makes the ordering key of a call: a function of those of its arguments that it names, defaults included; or
            the path of one (`"customer_id"`, `"order.customer_id"`), to text, an int, a UUID or an Enum. None leaves it
            to each call.
        tenant: makes the tenant of a call, in the same two ways.
        unique: lets one of several jobs run that do the same, for the whole fleet; see `Unique`.
        limits: how often its jobs may begin, and how many may run at once; all hold, and those of the queue.
        cost: what each job counts for in rates: a number, or a function of those of its arguments that it names.
        breaker: holds its jobs after failures of its jobs, and lets one probe now and then; see `Breaker`.
        needs: names of dependencies, such as `["stripe"]`: its jobs wait while the breaker of one is open.
        own_priority: the priority of its calls that name none: one of the queue's `priorities`; None means normal.
        retry, timeout, max_payload_bytes: None takes the queue's.
        dead_guard: how many of its dead letters pause it; None takes the queue's.
        isolation: "process" runs each of its jobs in a child process, whose `timeout` is kept by a kill, whatever the
            job is doing; its handler must be importable by module and name. None runs them in the worker's own.
        memory_limit_bytes: resident memory above which an isolated job is killed; that is a failed attempt.
        compatibility: the rule that a change of the contract must keep.
        heartbeat: a run that sends no heartbeat for so long is ended as if it had passed its timeout; None: it may
            be silent.
        owner: who answers for its jobs; `Pipeline.job` takes the queue's for it, for `runbook`, `slo`, `escalation`,
            `on_dead` and `on_late`, where it has none of its own.
        runbook: what to do when they fail: an URL, or a line of text.
        slo: what the owner promises of its jobs.
        escalation: whom to call when the owner does not answer, or how.
        on_dead: the job type, declared before, that is enqueued once for each of its dead letters, with its `JobStory`.
        on_late: the same for each of its jobs that is late.
        late_after: a job is late when it has waited for so long; None takes `slo.wait`. `Pipeline.job` takes the
            queue's where it has neither.
        story_arguments: whether stories of its jobs have their arguments; False where these are secrets.
        description: for the catalogue; the docstring's first line by default.
    """

    name: str
    queue: Queue
    handler: Callable[P, R]
    contract: Contract
    key: LabelDeclaration | None = None
    tenant: LabelDeclaration | None = None
    unique: Unique | None = None
    limits: Sequence[Limit] = ()
    cost: Cost = 1
    breaker: Breaker | None = None
    needs: tuple[str, ...] = ()
    own_priority: str | None = None
    own_retry: RetryPolicy | None = None
    own_timeout: timedelta | None = None
    own_max_payload_bytes: int | None = None
    own_dead_guard: DeadGuard | None = None
    isolation: Isolation | None = None
    memory_limit_bytes: int | None = None
    compatibility: Compatibility = Compatibility.BACKWARD
    heartbeat: timedelta | None = None
    owner: str = ""
    runbook: str = ""
    slo: Slo | None = None
    escalation: str = ""
    on_dead: Follower | None = None
    on_late: Follower | None = None
    late_after: timedelta | None = None
    story_arguments: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, and look like the function for `help()` and introspection."""
        faults = [*(self.own_retry.faults() if self.own_retry else []), *unknown_tiers(self.retry, self.queue.tiers)]
        if self.timeout <= timedelta(0):
            faults.append(f"timeout must be above zero; it is {self.timeout}")
        if self.heartbeat is not None and not timedelta(0) < self.heartbeat < self.timeout:
            faults.append(
                f"heartbeat must be above zero and below the timeout ({self.timeout}); it is {self.heartbeat}"
            )
        faults += label_faults("key", self.key, self.contract)
        faults += label_faults("tenant", self.tenant, self.contract)
        faults += self.unique.faults(self.contract, self.queue) if self.unique is not None else []
        faults += limit_faults(self.name, self.limits, self.queue) + cost_faults(self.cost, self.contract)
        faults += by_faults((*self.queue.limits, *self.limits), self.contract)
        unknown = unknown_priority(self.own_priority, self.queue.priorities, self.queue.name)
        faults += [] if unknown is None else [f"priority {unknown}"]
        faults += isolation_faults(self.handler, self.isolation, self.memory_limit_bytes)
        faults += self._breaker_faults() + ownership_faults(self)
        if faults:
            raise InvalidDeclaration(f"job type {self.name!r}", faults)
        for name in WRAPPER_ASSIGNMENTS:
            self.__dict__[name] = getattr(self.handler, name, None)  # not setattr: the instance is frozen
        self.__dict__["__wrapped__"] = self.handler

    def _breaker_faults(self) -> list[str]:
        declared = [rule for rule in (self.breaker, self.own_dead_guard) if rule is not None]
        return [fault for rule in declared for fault in rule.faults()]

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the handler here and now."""
        return self.handler(*args, **kwargs)

    @cached_property
    def ordering_key(self) -> LabelFunction | LabelPath | None:
        """The label that makes the ordering keys of its calls."""
        return None if self.key is None else made_label("key", self.key, self.contract)

    @cached_property
    def tenant_label(self) -> LabelFunction | LabelPath | None:
        """The label that makes the tenants of its calls."""
        return None if self.tenant is None else made_label("tenant", self.tenant, self.contract)

    @cached_property
    def cost_label(self) -> LabelFunction | None:
        """The maker of the costs of its calls; None where each costs the same."""
        return LabelFunction("cost", self.cost, self.contract) if callable(self.cost) else None

    @cached_property
    def limit_labels(self) -> Mapping[str, LabelFunction]:
        """{name of a limit: maker of the text by which it counts a call apart}, of limits with a function."""
        limits = {**named_limits(self.queue.name, self.queue.limits), **named_limits(self.name, self.limits)}
        return made_by(limits, self.contract)

    @cached_property
    def has_limit_headers(self) -> bool:
        """Whether its calls carry something for limits."""
        return self.cost_label is not None or bool(self.limit_labels)

    @cached_property
    def unique_identity(self) -> UniqueIdentity | None:
        """The maker of the identities of its calls."""
        return None if self.unique is None else UniqueIdentity(self.name, self.unique, self.contract)

    @cached_property
    def priority(self) -> str:
        """The priority of its calls that name none."""
        return self.own_priority or NORMAL

    @cached_property
    def retry(self) -> RetryPolicy:
        """The policy that decides about failures."""
        return self.own_retry or self.queue.retry

    @cached_property
    def timeout(self) -> timedelta:
        """How long one run may take."""
        return self.own_timeout or self.queue.timeout

    @cached_property
    def timeout_s(self) -> float:
        """The timeout in seconds."""
        return self.timeout.total_seconds()

    @cached_property
    def run_limits(self) -> RunLimits:
        """The bounds on one run's time."""
        heartbeat_s = math.inf if self.heartbeat is None else self.heartbeat.total_seconds()
        return RunLimits(self.timeout_s, heartbeat_s, min(self.timeout_s, heartbeat_s))

    @cached_property
    def max_payload_bytes(self) -> int:
        """Encoded payloads above this are refused at enqueue."""
        return self.own_max_payload_bytes or self.queue.max_payload_bytes

    @cached_property
    def dead_guard(self) -> DeadGuard | None:
        """How many dead letters pause it."""
        return self.own_dead_guard or self.queue.dead_guard

    @cached_property
    def late_s(self) -> float | None:
        """After how many seconds of waiting a job is late; None where nothing follows that."""
        return late_after_s(self)

    @cached_property
    def is_async(self) -> bool:
        """Whether the handler runs on the event loop: it, what it wraps, or its `__call__` is an `async def`."""
        return inspect.iscoroutinefunction(annotated_function(self.handler))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> JobCall:
        """Bind arguments for a producer to send later; nothing is checked before it is enqueued."""
        return JobCall(self, args, kwargs)

    def call_from_json(self, data: object, options: CallOptions = NO_OPTIONS) -> JobCall:
        """Make a call from its arguments by name, as JSON data, such as `JobStory.arguments`; as `Contract.from_json`.

        Raises:
            PayloadRefused: the data does not fit; the field is named.
        """
        args, kwargs = self.contract.arguments(self.contract.from_json(data))
        return JobCall(self, args, kwargs, options)

    def with_options(  # noqa: PLR0913  # editors and type checkers show each option
        self,
        *,
        key: str | None = None,
        tenant: str | None = None,
        job_id: str | None = None,
        idempotency_key: str | None = None,
        priority: str | None = None,
        delay: timedelta | None = None,
        at: datetime | None = None,
        expires: datetime | timedelta | None = None,
        source: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ConfiguredJob[P, R]:
        """Say what the next call carries beside its arguments; see `CallOptions`."""
        options = CallOptions(
            key=key,
            tenant=tenant,
            job_id=job_id,
            idempotency_key=idempotency_key,
            priority=priority,
            delay=delay,
            at=at,
            expires=expires,
            source=source,
            headers=headers or {},
        )
        return ConfiguredJob(job_type=self, options=options)


AnyJobType: TypeAlias = JobType[Any, Any]
"""A job type as tables hold it. Which parameters its handler has, its contract decides when the program runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredJob(Generic[P, R]):
    """A job type together with the options of its next calls."""

    job_type: JobType[P, R]
    options: CallOptions

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> JobCall:
        """Bind arguments for a producer to send later."""
        return JobCall(self.job_type, args, kwargs, self.options)
