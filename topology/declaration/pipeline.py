"""`Pipeline`: the declared system, with its queues and job types; the one object that all programs share."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import ParamSpec, TypedDict, TypeVar, Unpack

from ...schemas import Compatibility, Contract
from ..ownership.slo import Slo
from ..ownership.story import Follower, late_after_of
from ..wire import names
from .breakers import DEFAULT_BREAKER, Breaker, DeadGuard, name_faults, need_faults
from .fairness import Divider, FairBy
from .handlers import handler_faults, handler_name, handler_summary
from .isolation import Isolation
from .job_type import AnyJobType, InvalidDeclaration, JobCall, JobType
from .labels import LabelDeclaration
from .limits import Cost, DeclaredLimit, Limit, as_tuple, clashes, coordinators, declared_limits
from .queue import LedgerWindow, Ordering, Queue, RouteBy, WhenFull
from .retries import DEFAULT_TIERS, RetryPolicy
from .schedule import MakeCalls, Schedule, ScheduleOptions
from .timing import Timing
from .unique import Unique

P = ParamSpec("P")
R = TypeVar("R")


class QueueShape(TypedDict, total=False):
    """The options of `Pipeline.queue`; `Queue` documents each."""

    partitions: int
    replication: int | None
    retention: timedelta
    dead_retention: timedelta
    tiers: tuple[timedelta, ...]
    ordering: Ordering
    route_by: RouteBy
    retry: RetryPolicy
    timeout: timedelta
    max_payload_bytes: int
    crash_limit: int
    ledger: LedgerWindow
    session_timeout: timedelta | None
    limits: Sequence[Limit]
    max_waiting: int | None
    when_full: WhenFull
    dead_guard: DeadGuard | None
    priorities: Mapping[str, int]
    fair_by: FairBy | Divider | None
    owner: str
    runbook: str
    slo: Slo | None
    escalation: str
    on_dead: Follower | None
    on_late: Follower | None
    late_after: timedelta | None
    description: str


def _own_or(follower: Follower | None, of_queue: Follower | None) -> Follower | None:
    return of_queue if follower is None else follower


class UnknownName(LookupError):
    """The pipeline has no queue or job type of that name; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there is: {', '.join(sorted(known)) or 'none'}"
        super().__init__(f"the pipeline has no {kind} {name!r}; {hint}")
        self.kind, self.name, self.known = kind, name, known


class Pipeline:
    """A namespace of queues and job types.

    >>> pipeline = Pipeline("shop")
    >>> mails = pipeline.queue("mails", partitions=4)
    >>> @pipeline.job(mails)
    ... def send_receipt(order_id: int) -> None: ...
    >>> mails.topic, sorted(pipeline.job_types)
    ('shop.mails', ['send_receipt'])
    """

    def __init__(self, namespace: str, *, description: str = "") -> None:
        self.namespace = names.check_name("namespace", namespace)
        self.description = description
        self._queues: dict[str, Queue] = {}
        self._job_types: dict[str, AnyJobType] = {}
        self._schedules: dict[str, Schedule] = {}
        self._dependencies: dict[str, Breaker] = {}

    @property
    def queues(self) -> Mapping[str, Queue]:
        """{name: queue}, in the order of declaration."""
        return MappingProxyType(self._queues)

    @property
    def job_types(self) -> Mapping[str, AnyJobType]:
        """{name on the wire: job type}, in the order of declaration."""
        return MappingProxyType(self._job_types)

    @property
    def dependencies(self) -> Mapping[str, Breaker]:
        """{name: breaker} of the dependencies that are declared, or named by job types."""
        named = {name: DEFAULT_BREAKER for job_type in self._job_types.values() for name in job_type.needs}
        return MappingProxyType({**named, **self._dependencies})

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """{name: schedule} of those that the application declares, in the order of declaration."""
        return MappingProxyType(self._schedules)

    @property
    def share_coordinators(self) -> Mapping[str, str]:
        """{name of a limit that workers share: queue whose first partition's owner gives the shares}."""
        return coordinators(self._queues.values(), self._job_types.values())

    @property
    def shares_topic(self) -> str:
        """The topic on which workers share limits; there if any limit is shared."""
        return names.shares_topic(self.namespace)

    @property
    def stats_topic(self) -> str:
        """The compacted topic of the statistics."""
        return names.stats_topic(self.namespace)

    @property
    def schemas_topic(self) -> str:
        """The compacted topic that holds the writer schemas."""
        return names.schemas_topic(self.namespace)

    @property
    def events_topic(self) -> str:
        """The topic of events."""
        return names.events_topic(self.namespace)

    @property
    def control_topic(self) -> str:
        """The compacted topic of the orders that stand."""
        return names.control_topic(self.namespace)

    @property
    def workers_topic(self) -> str:
        """The compacted topic on which each worker process writes its status."""
        return names.workers_topic(self.namespace)

    @property
    def audit_topic(self) -> str:
        """The topic of the audit trail: each order and each change of a schedule, kept for 400 days."""
        return names.audit_topic(self.namespace)

    @property
    def schedules_topic(self) -> str:
        """The compacted topic of the schedules, and of what each has fired last."""
        return names.schedules_topic(self.namespace)

    def queue(self, name: str, **shape: Unpack[QueueShape]) -> Queue:
        """Declare a queue; `Queue` documents each option.

        Raises:
            InvalidDeclaration: the values cannot be, or the name is taken.
        """
        shape["limits"] = as_tuple(shape.get("limits", ()))
        shape["tiers"] = tuple(shape.get("tiers", DEFAULT_TIERS))  # a list would do but for its hash
        queue = Queue(namespace=self.namespace, name=names.check_name("queue", name), **shape)
        followers = {"on_dead": queue.on_dead, "on_late": queue.on_late}
        faults = queue.faults() + self._name_clashes(name) + self._all_foreign(followers)
        if not faults:
            faults = clashes(declared_limits([queue], []), self._limits())
        if faults:
            raise InvalidDeclaration(f"queue {name!r}", faults)
        self._queues[name] = queue
        return queue

    def _limits(self) -> list[DeclaredLimit]:
        return list(declared_limits(self._queues.values(), self._job_types.values()))

    def _name_clashes(self, name: str) -> list[str]:
        return [f"a queue {name!r} is declared already"] if name in self._queues else []

    def job(  # noqa: PLR0913  # editors and type checkers show each option with its default
        self,
        queue: Queue,
        *,
        name: str | None = None,
        key: LabelDeclaration | None = None,
        tenant: LabelDeclaration | None = None,
        unique: Unique | None = None,
        limits: Sequence[Limit] = (),
        cost: Cost = 1,
        breaker: Breaker | None = None,
        needs: Sequence[str] = (),
        dead_guard: DeadGuard | None = None,
        priority: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: timedelta | None = None,
        heartbeat: timedelta | None = None,
        max_payload_bytes: int | None = None,
        isolation: Isolation | None = None,
        memory_limit_bytes: int | None = None,
        schema: Path | Mapping[str, object] | None = None,
        compatibility: Compatibility = Compatibility.BACKWARD,
        owner: str = "",
        runbook: str = "",
        slo: Slo | None = None,
        escalation: str = "",
        on_dead: Follower | None = None,
        on_late: Follower | None = None,
        late_after: timedelta | None = None,
        story_arguments: bool = True,
        description: str = "",
    ) -> Callable[[Callable[P, R]], JobType[P, R]]:
        """Declare the decorated function as a job type of the queue; `JobType` documents each option.

        Args:
            queue: one of this pipeline's.
            name: None takes the function's.
            priority: becomes the job type's `own_priority`.
            schema: an Avro schema, or the path of an `.avsc` file, instead of one derived from the annotations.

        Raises:
            InvalidDeclaration: the name is taken, the queue is another pipeline's, or a value cannot be.
        """

        def declare(function: Callable[P, R]) -> JobType[P, R]:
            job_name = name or handler_name(function) or ""
            self._check(job_name, queue, function, needs, followers={"on_dead": on_dead, "on_late": on_late})
            job_type = JobType(
                name=job_name,
                queue=queue,
                handler=function,
                contract=self._contract(function, job_name, schema),
                key=key,
                tenant=tenant,
                unique=unique,
                limits=as_tuple(limits),
                cost=cost,
                breaker=breaker,
                needs=tuple(needs),
                own_dead_guard=dead_guard,
                own_priority=priority,
                own_retry=retry,
                own_timeout=timeout,
                heartbeat=heartbeat,
                own_max_payload_bytes=max_payload_bytes,
                isolation=isolation,
                memory_limit_bytes=memory_limit_bytes,
                compatibility=compatibility,
                owner=owner or queue.owner,
                runbook=runbook or queue.runbook,
                slo=slo or queue.slo,
                escalation=escalation or queue.escalation,
                on_dead=_own_or(on_dead, queue.on_dead),
                on_late=_own_or(on_late, queue.on_late),
                late_after=late_after_of(late_after, slo, queue.late_after),
                story_arguments=story_arguments,
                description=description or handler_summary(function),
            )
            if faults := clashes(declared_limits([], [job_type]), self._limits()):
                raise InvalidDeclaration(f"job type {job_name!r}", faults)
            self._job_types[job_name] = job_type
            if unique is not None:
                queue.unique[job_name] = unique
            return job_type

        return declare

    def _contract(
        self, function: Callable[..., object], job_name: str, schema: Path | Mapping[str, object] | None
    ) -> Contract:
        if schema is None:
            return Contract.of_function(function, job_type=job_name, namespace=self.namespace)
        return Contract.of_avsc(function, schema, job_type=job_name, namespace=self.namespace)

    def _check(
        self, job_name: str, queue: Queue, handler: object, needs: object, followers: Mapping[str, Follower | None]
    ) -> None:
        faults = [*handler_faults(handler), *need_faults(needs)]
        faults += self._all_foreign(followers)
        if not job_name:
            kind = "lambda" if hasattr(handler, "__name__") else type(handler).__name__
            faults.append(f"its handler, a {kind}, has no name of its own; give one, with name=")
        elif not job_name.isascii() or not job_name.replace("_", "").replace(".", "").replace("-", "").isalnum():
            faults.append("its name may have ASCII letters, digits, '_', '-' and '.' only")
        if job_name in self._job_types:
            faults.append(f"a job type {job_name!r} is declared already; give one of them another name=")
        if self._queues.get(queue.name) is not queue:
            faults.append(f"queue {queue.name!r} belongs to another pipeline")
        if faults:
            raise InvalidDeclaration(f"job type {job_name!r}", faults)

    def _all_foreign(self, followers: Mapping[str, Follower | None]) -> list[str]:
        return [fault for option, follower in followers.items() for fault in self._foreign(option, follower)]

    def _foreign(self, option: str, follower: Follower | None) -> list[str]:
        """The fault of a job type that is to follow this one, or those of a queue, and is none of this pipeline.

        It is declared before this one. So no job type can follow itself, nor two follow each other, nor one its queue.
        """
        name = getattr(follower, "name", None)
        if name is None or self._job_types.get(name) is follower:
            return []
        return [f"{option} names the job type {name!r} of another pipeline; declare one in {self.namespace!r}"]

    def dependency(self, name: str, breaker: Breaker = DEFAULT_BREAKER) -> None:
        """Declare what jobs depend on, such as a service of others, and when its breaker opens.

        A job type names it in `needs=`, or its handler by `with current_job().dependency(name):`. One that `needs=`
        names and that is not declared has the breaker `Breaker()`.

        Raises:
            InvalidDeclaration: the name is taken, or a value cannot be.
        """
        faults = [*name_faults(name), *breaker.faults()]
        if name in self._dependencies:
            faults.append(f"a dependency {name!r} is declared already")
        if faults:
            raise InvalidDeclaration(f"dependency {name!r}", faults)
        self._dependencies[name] = breaker

    def schedule(
        self,
        name: str,
        timing: Timing,
        call: JobCall | MakeCalls,
        *,
        queue: Queue | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Declare that jobs are enqueued again and again; `Schedule` documents each option.

        `stoker topology apply` puts the schedule on the cluster, and takes it off when it is no longer declared.

        Args:
            timing: `cron("0 3 * * *", tz="Europe/Berlin")` or `every(timedelta(minutes=5))`.
            call: `job_type.call(...)`, or a function of the instant that returns one or several of these.
            queue: whose jobs the function makes; needed with a function alone.

        Raises:
            InvalidDeclaration: the name is taken, or a value cannot be.
        """
        if name in self._schedules:
            raise InvalidDeclaration(f"schedule {name!r}", [f"a schedule {name!r} is declared already"])
        if queue is None and not isinstance(call, JobCall):
            raise InvalidDeclaration(f"schedule {name!r}", ["its jobs are made by a function: name their queue=, too"])
        chosen = call.job_type.queue if isinstance(call, JobCall) and queue is None else queue
        if chosen is None or self._queues.get(chosen.name) is not chosen:
            raise InvalidDeclaration(f"schedule {name!r}", ["its queue belongs to another pipeline"])
        declared = Schedule(name=name, timing=timing, call=call, queue=chosen, **options)
        self._schedules[name] = declared
        return declared

    def find_queue(self, name: str) -> Queue:
        """The queue of that name.

        Raises:
            UnknownName: there is none; the message offers near ones.
        """
        try:
            return self._queues[name]
        except KeyError:
            raise UnknownName("queue", name, list(self._queues)) from None

    def find_job_type(self, name: str) -> AnyJobType:
        """The job type of that name.

        Raises:
            UnknownName: there is none; the message offers near ones.
        """
        try:
            return self._job_types[name]
        except KeyError:
            raise UnknownName("job type", name, list(self._job_types)) from None
