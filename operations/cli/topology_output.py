"""How `stoker topology` prints plans, what was applied, and the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from .output import print_table

if TYPE_CHECKING:
    from ...schemas import IncompatibleSchema
    from ...topology import Applied, Finding, Plan
    from ...topology.catalogue import Catalogue, CataloguedJobType, CataloguedQueue

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
    click.echo(planned.summary())


def _print_findings(group: str, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    mark, colour, title = _HEADS[group]
    click.secho(title, bold=True)
    for finding in findings:
        click.echo(f"  {click.style(mark, fg=colour)} {finding.line()}")
    click.echo()


def print_applied(planned: Plan, applied: Applied, contracts: Sequence[IncompatibleSchema]) -> None:
    """Print what was done, then what was refused."""
    for line in _done(applied):
        click.echo(line)
    _print_findings("refused", planned.refused)
    for refusal in contracts:
        click.echo(f"  {click.style('x', fg='red')} {refusal}")
    is_done = not planned.refused and not contracts
    click.echo(f"{planned.namespace}: {'all is as declared' if is_done else 'the rest is as declared'}")


def _done(applied: Applied) -> Iterable[str]:
    yield from (f"created {topic}" for topic in applied.created)
    yield from (f"grew {topic}" for topic in applied.grown)
    for topic, configs in applied.configured.items():
        yield from (f"set {name}={value} on {topic}" for name, value in configs.items())
    yield from (f"deleted {topic}" for topic in applied.deleted)
    yield from (f"kept {topic}: jobs came to wait in it since the plan was made" for topic in applied.kept)


def print_catalogue(found: Catalogue) -> None:
    """Print each queue with its topics and its job types."""
    click.echo(_titled(found.namespace, found.description, ""))
    for queue in found.queues:
        click.echo()
        _print_queue(queue)
    click.echo()
    click.secho("Topics of the pipeline itself", bold=True)
    for topic in found.topics:
        click.echo(f"  {topic.name} ({topic.role}, {_counted(topic.partitions, 'partition')})")


def _titled(name: str, description: str, owner: str) -> str:
    told = f": {description}" if description else ""
    return f"{click.style(name, bold=True)}{told}{f' (owner: {owner})' if owner else ''}"


def _print_queue(queue: CataloguedQueue) -> None:
    click.echo(_titled(f"Queue {queue.name}", queue.description, queue.owner))
    copies = "the cluster's default of copies" if queue.replication is None else _counted(queue.replication, "copy")
    order = ORDER_IN_WORDS[queue.ordering]
    click.echo(f"  {_counted(queue.partitions, 'partition')}, {copies}, {order}; group {queue.group}")
    click.echo(
        f"  kept {_length(queue.retention_s)}, dead letters {_length(queue.dead_retention_s)}; retry tiers "
        f"{', '.join(queue.tiers)}; ledger {queue.ledger_jobs:,} jobs or {_length(queue.ledger_age_s)} a partition"
    )
    click.echo(f"  quarantine after {_counted(queue.crash_limit, 'crash')}; {_session(queue)}")
    click.echo(f"  topics {', '.join(topic.name for topic in queue.topics)}")
    if not queue.job_types:
        click.echo("  no job types")
        return
    click.echo()
    print_table(_TITLES, [_row(job) for job in queue.job_types])
    for job in queue.job_types:
        click.echo()
        _print_fields(job)


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
    click.echo(f"{job.name}, {job.compatibility}, schema {job.schema_fingerprint}")
    for field in job.fields:
        click.echo(f"  {field.name}: {field.type}{'' if field.required else ', optional'}")
    if job.permanent_errors:
        click.echo(f"  never tried again after {', '.join(job.permanent_errors)}")
    if job.ignored_errors:
        click.echo(f"  counts as done after {', '.join(job.ignored_errors)}")


def _length(seconds: float) -> str:
    from ...topology import format_duration

    return format_duration(timedelta(seconds=seconds))


def _counted(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}{'es' if noun.endswith('sh') else 's'}"
    return f"{number} {noun if number == 1 else plural}"
