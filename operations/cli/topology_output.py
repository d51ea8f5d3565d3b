"""How `stoker topology` prints plans, what was applied, and the declaration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ...topology.counts import counted, counted_doing
from .output import echo_line, print_table, styled

if TYPE_CHECKING:
    from ...schemas import IncompatibleSchema
    from ...topology import Applied, Plan, PlanFinding
    from ...topology.declaration.catalogue import Catalogue, CataloguedJobType, CataloguedQueue

ORDER_IN_WORDS: Final = {
    "key": "in order per key",
    "strict": "in order per key through retries",
    "none": "without order",
}
_HEADS: Final = {
    "create": ("+", "green", "Create"),
    "change": ("~", "yellow", "Change"),
    "drift": ("!", "yellow", "Drift, which apply leaves alone"),
    "refused": ("x", "red", "Refused, because it could lose data or order"),
    "unmanaged": ("?", "cyan", "Not declared, which apply leaves alone"),
}


def print_plan(planned: Plan) -> None:
    """Print the findings in their groups, one line each, then how many there are of each kind."""
    from ...topology import Group

    for group in Group:
        _print_findings(group.value, planned.of(group))
    if planned.contracts:
        echo_line(styled("Contracts, which apply does not register", bold=True))
        _print_contracts(planned.contracts)
        echo_line()
    echo_line(planned.summary())


def _print_contracts(contracts: Iterable[IncompatibleSchema]) -> None:
    for refusal in contracts:
        echo_line("  ", styled("x", fg="red"), f" {refusal}")


def _print_findings(group: str, findings: Sequence[PlanFinding]) -> None:
    if not findings:
        return
    mark, colour, title = _HEADS[group]
    echo_line(styled(title, bold=True))
    for finding in findings:
        echo_line("  ", styled(mark, fg=colour), f" {finding.line()}")
    echo_line()


def print_applied(planned: Plan, applied: Applied, contracts: Sequence[IncompatibleSchema]) -> None:
    """Print what was done, then what was refused."""
    for line in _done(applied):
        echo_line(line)
    _print_findings("refused", planned.refused)
    _print_contracts(contracts)
    is_done = not planned.refused and not contracts
    echo_line(f"{planned.namespace}: {'all is as declared' if is_done else 'the rest is as declared'}")


def note_unregistered(applied: Applied) -> None:
    """Note what was done before contracts could not be registered."""
    for line in (*_done(applied), "the topics are applied, the contracts not registered: apply again"):
        echo_line(line, err=True)


def _done(applied: Applied) -> Iterable[str]:
    yield from (f"created {topic}" for topic in applied.created)
    yield from (f"grew {topic}" for topic in applied.grown)
    for topic, configs in applied.configured.items():
        yield from (f"set {name}={value} on {topic}" for name, value in configs.items())
    yield from (f"deleted {topic}" for topic in applied.deleted)
    yield from (f"kept {topic}: jobs came to wait in it since the plan was made" for topic in applied.kept)


def print_declaration(found: Catalogue) -> None:
    """Print each queue with its topics and its job types."""
    echo_line(*_titled(found.namespace, found.description, ""))
    for queue in found.queues:
        echo_line()
        _print_queue(queue)
    echo_line()
    echo_line(styled("Topics of the pipeline itself", bold=True))
    for topic in found.topics:
        echo_line(f"  {topic.name} ({topic.role}, {counted(topic.partitions, 'partition')})")
    if found.schema_registry is not None:
        echo_line()
        echo_line(styled("Schemas", bold=True))
        echo_line(f"  {found.schema_registry.address}, subjects {', '.join(found.schema_registry.subjects)}")


def _titled(name: str, description: str, owner: str) -> tuple[str, ...]:
    text = f": {description}" if description else ""
    return styled(name, bold=True), text, f" (owner: {owner})" if owner else ""


def _print_queue(queue: CataloguedQueue) -> None:
    echo_line(*_titled(f"Queue {queue.name}", queue.description, queue.owner))
    replicas = "the cluster's number of replicas"
    if queue.replication is not None:
        replicas = counted(queue.replication, "replica")
    order = ORDER_IN_WORDS[queue.ordering] + (", routed by tenant" if queue.route_by == "tenant" else "")
    echo_line(f"  {counted(queue.partitions, 'partition')}, {replicas}, {order}; group {queue.group}")
    echo_line(
        f"  kept {_length(queue.retention_s)}, dead letters {_length(queue.dead_retention_s)}; retry tiers "
        f"{', '.join(queue.tiers)}; ledger {counted(queue.ledger_jobs, 'job')} or {_length(queue.ledger_age_s)} a "
        "partition"
    )
    echo_line(f"  quarantine after {counted(queue.crash_limit, 'crash', 'crashes')}; {_session(queue)}")
    _print_limits(queue.limits)
    _print_sharing(queue)
    echo_line(f"  topics {', '.join(topic.name for topic in queue.topics)}")
    if not queue.job_types:
        echo_line("  no job types")
        return
    echo_line()
    print_table(_TITLES, [_row(job) for job in queue.job_types])
    for job in queue.job_types:
        echo_line()
        _print_fields(job)


def _print_priorities(weights: Mapping[str, int]) -> None:
    if weights:
        echo_line(f"  priorities {', '.join(f'{name} {weight}' for name, weight in weights.items())}")


def _print_sharing(queue: CataloguedQueue) -> None:
    if queue.fair_by is not None:
        weights = ", ".join(f"{name} {weight:g}" for name, weight in queue.fair_weights.items())
        echo_line(f"  runners are shared by {queue.fair_by}{f'; weights: {weights}' if weights else ''}")
    if queue.max_waiting is not None:
        meet = "refused" if queue.when_full == "refuse" else "made to wait"
        echo_line(f"  full when {counted_doing(queue.max_waiting, 'job', 'wait')}; producers are {meet} then")
    _print_priorities(queue.priorities)


def _session(queue: CataloguedQueue) -> str:
    left = "the brokers' session timeout"
    return left if queue.session_timeout_s is None else f"session timeout {_length(queue.session_timeout_s)}"


_TITLES: Final = ("JOB TYPE", "OWNER", "TIMEOUT", "ATTEMPTS", "TIERS", "LIMIT", "KEY", "DESCRIPTION")


def _row(job: CataloguedJobType) -> tuple[object, ...]:
    limit = f"{job.max_payload_bytes / 1024:,.0f} KiB"
    tiers = ",".join(job.tiers) if job.attempts > 1 else "-"
    timeout = _length(job.timeout_s)
    if job.heartbeat_s is not None:
        timeout += f", heartbeat {_length(job.heartbeat_s)}"
    if job.isolation != "none":
        timeout += ", in a child process"
    if job.memory_limit_bytes is not None:
        timeout += f" of {job.memory_limit_bytes / 1024**2:,.0f} MiB"
    return (job.name, job.owner or "-", timeout, job.attempts, tiers, limit, job.key, job.description or "-")


def _print_fields(job: CataloguedJobType) -> None:
    from ...topology.declaration.catalogue import NOT_DECLARED
    from ...topology.declaration.priorities import NORMAL

    echo_line(f"{job.name}, {job.compatibility}, schema {job.schema_fingerprint}")
    if job.tenant != NOT_DECLARED:
        echo_line(f"  tenant {job.tenant}")
    if job.priority != NORMAL:
        echo_line(f"  priority {job.priority}")
    if job.unique:
        echo_line(f"  unique {job.unique}")
    _print_limits(job.limits)
    if job.cost != "1":
        echo_line(f"  costs {job.cost}")
    _print_breakers(job)
    for field in job.fields:
        echo_line(f"  {field.name}: {field.type}{'' if field.required else ', optional'}")
    if job.permanent_errors:
        echo_line(f"  never tried again after {', '.join(job.permanent_errors)}")
    if job.ignored_errors:
        echo_line(f"  counts as done after {', '.join(job.ignored_errors)}")


def _print_breakers(job: CataloguedJobType) -> None:
    named = (("breaker", job.breaker), ("needs", ", ".join(job.needs)), ("paused at", job.dead_guard))
    for name, value in named:
        if value:
            echo_line(f"  {name} {value}")


def _print_limits(limits: Mapping[str, str]) -> None:
    for name, allows in limits.items():
        echo_line(f"  limit {name}: {allows}")


def _length(seconds: float) -> str:
    from ...topology import format_duration

    return format_duration(timedelta(seconds=seconds))
