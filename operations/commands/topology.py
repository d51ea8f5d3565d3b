"""`stoker topology`: plan, apply and show the declared topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ..cli.app import AppContext, pass_app
from ..cli.exit_codes import ExitCode
from ..cli.failures import CommandFailure
from ..cli.output import echo_line, print_json
from ..cli.topology_output import note_unregistered, print_applied, print_declaration, print_plan
from ..schedules.declared import apply_schedules, changes_document, plan_schedules, print_planned
from ..schedules.declared import print_applied as print_applied_schedules

if TYPE_CHECKING:
    from ...schemas import IncompatibleSchema
    from ...topology import Allowed, Applied, Plan
    from ...topology.planning.recording import Recording

F = TypeVar("F", bound=Callable[..., Any])

_as_json = click.option("--json", "as_json", is_flag=True, help="Print data instead of sentences.")

_PERMISSIONS: Final = (
    click.option(
        "--allow-repartition",
        "repartition",
        metavar="QUEUE",
        multiple=True,
        help="Give all topics of QUEUE more partitions, although keys move. Repeatable.",
    ),
    click.option(
        "--allow-reroute",
        "reroute",
        metavar="QUEUE",
        multiple=True,
        help="Route the jobs of QUEUE as it is declared now, by key or by tenant, although they move. Repeatable.",
    ),
    click.option(
        "--allow-shorter-retention",
        "shorter_retention",
        metavar="QUEUE",
        multiple=True,
        help="Keep the records of QUEUE (or of `events`) for a shorter time, although older ones go. Repeatable.",
    ),
    click.option(
        "--allow-tier-removal",
        "tier_removal",
        metavar="QUEUE",
        multiple=True,
        help="Abandon the jobs that wait in tiers and priorities of QUEUE which are not declared any more. Repeatable.",
    ),
    click.option(
        "--delete-empty-tiers",
        is_flag=True,
        help="Delete the topics of tiers that are not declared any more, if no job waits in them.",
    ),
)


def _permissions(command: F) -> F:
    """Give a command the options that allow what is refused."""
    for option in reversed(_PERMISSIONS):
        command = option(command)
    return command


def _allowed(
    *,
    repartition: tuple[str, ...],
    reroute: tuple[str, ...],
    shorter_retention: tuple[str, ...],
    tier_removal: tuple[str, ...],
    delete_empty_tiers: bool,
) -> Allowed:
    from ...topology import Allowed

    return Allowed(
        repartition=frozenset(repartition),
        reroute=frozenset(reroute),
        shorter_retention=frozenset(shorter_retention),
        tier_removal=frozenset(tier_removal),
        empty_tier_deletion=delete_empty_tiers,
    )


@click.group()
def topology() -> None:
    """Bring the cluster's topics to what the application declares, and keep them there.

    A queue has a main topic, one for each priority beside `normal`, for each retry tier and for each of three classes
    of delay, and one each for carried jobs, dead letters, its ledger and its progress. The pipeline has topics of its
    own for schemas, events, orders (control), the workers' status, the audit trail, schedules and statistics (stats),
    and one for the shares of limits where workers share any.
    """


@topology.command("plan")
@click.option("--check", is_flag=True, help="Exit with 1 when there is anything to create or change, for CI.")
@_permissions
@_as_json
@pass_app
def plan_command(app: AppContext, /, *, check: bool, as_json: bool, **permissions: Any) -> None:
    """Show what `apply` would do, and what in the cluster drifted. Nothing is changed.

    \b
    create, change  apply does it
    drift           differs from the declaration, and apply leaves it alone
    refused         could lose data or order: apply does it only with the flag that is named
    unmanaged       topics of this namespace that are not declared
    contracts       break their rule towards the registered versions: apply does not register them

    \b
    Examples:
      stoker -A shop.jobs:pipeline topology plan
      stoker -A shop.jobs:pipeline topology plan --json | jq '.refused[].flag'
      stoker -A shop.jobs:pipeline topology plan --check

    Exit codes: 0, also when there is something to do; with --check 1 then; 2 for an unknown queue; 3 when Kafka or the
    Schema Registry cannot be reached; 4 when something is refused, a contract too.
    """
    planned = _plan(app, _allowed(**permissions))
    schedules = plan_schedules(app, planned)
    if as_json:
        print_json({**planned.to_json(), "schedules": changes_document(schedules)})
    else:
        print_plan(planned)
        print_planned(schedules)
    if planned.is_refused:
        raise click.exceptions.Exit(ExitCode.REFUSED)
    if check and not (planned.is_empty and schedules.is_empty):
        raise click.exceptions.Exit(ExitCode.FINDING)


@topology.command("apply")
@click.option("--skip-schemas", is_flag=True, help="Leave the contracts of the jobs unregistered, and schedules alone.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the audit trail.")
@click.option("--without-audit", is_flag=True, help="Apply although the audit topic cannot be written to.")
@_permissions
@_as_json
@pass_app
def apply_command(
    app: AppContext,
    /,
    *,
    skip_schemas: bool,
    reason: str,
    without_audit: bool,
    as_json: bool,
    **permissions: Any,
) -> None:
    """Create and change what `plan` shows, then register the contract of each job type, and put schedules in place.

    What is refused is left alone, and the rest is done. It may be run again at any time, also after it was stopped
    half-way, and by two at once. The audit topic has who applied it and what it changes, before the first change; where
    that topic cannot be written to, nothing is changed.

    \b
    Examples:
      stoker -A shop.jobs:pipeline topology apply
      stoker -A shop.jobs:pipeline topology apply --allow-repartition mails

    Exit codes: 0 all is as declared; 1 some topics could not be created or changed; 2 for an unknown queue; 3 when
    Kafka or the Schema Registry cannot be reached; 4 when something is refused.
    """
    allowed = _allowed(**permissions)
    _check_names(app, allowed)  # before a broker is started for a misspelt queue
    app.start_cluster()
    planned = _plan_topics(app, allowed)
    recording = _recording(app, reason, without_audit=without_audit)
    applied = _apply(app, planned, recording)
    contracts = [] if skip_schemas else _register(app, applied, recording)
    schedules = None if skip_schemas or contracts else apply_schedules(app)
    if as_json:
        print_json(
            {**_applied_json(planned, applied, contracts), "schedules": schedules and changes_document(schedules)}
        )
    else:
        print_applied(planned, applied, contracts)
        if schedules is not None:
            print_applied_schedules(schedules)
    if contracts:
        app.hint_at_reset()
    if planned.refused or contracts:
        raise click.exceptions.Exit(ExitCode.REFUSED)


@topology.command()
@_as_json
@pass_app
def show(app: AppContext, *, as_json: bool) -> None:
    """Print the declaration: queues with their topics, and job types with owner, limits and fields.

    It is read from the application alone; no cluster is needed. With a Schema Registry configured, its address and the
    subjects of the job types take the place of the schemas topic.

    \b
    Examples:
      stoker -A shop.jobs:pipeline topology show
      stoker -A shop.jobs:pipeline topology show --json | jq '.queues[].job_types[].name'
    """
    from ...topology.declaration.catalogue import catalogue

    found = catalogue(app.pipeline, app.registry_url)
    if as_json:
        print_json(found)
    else:
        print_declaration(found)


@topology.command("rights")
@click.option("--duty", "duties", multiple=True, metavar="DUTY", help="Of this duty only; repeatable.")
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="For this queue only; repeatable.")
@click.option("--principal", metavar="User:NAME", help="Print commands of kafka-acls that grant them to a principal.")
@_as_json
@pass_app
def rights_command(
    app: AppContext, *, duties: tuple[str, ...], queues: tuple[str, ...], principal: str | None, as_json: bool
) -> None:
    """Print what each duty of Stoker must be allowed to do on a cluster with access control.

    The duties are producer, worker, queues, dead-list, dead-replay, dead-discard, replay, doctor, audit-log, control,
    control-list, workers-list, schedules, schedules-list, statistics, statistics-show, schemas-check, plan and apply.
    No cluster is needed. With --principal, the commands go to a shell that knows where the brokers are.

    \b
    Examples:
      stoker -A shop.jobs:pipeline topology rights
      stoker -A shop.jobs:pipeline topology rights --duty worker --queue mails --principal User:mailer

    Exit codes: 0; 2 for an unknown queue or duty.
    """
    from ..cli.rights_output import chosen_rights, commands, print_rights

    found = chosen_rights(app, duties, queues)
    if as_json:
        print_json(found)
    elif principal is not None:
        for line in commands(found, principal):
            echo_line(line)
    else:
        print_rights(found)


def _check_names(app: AppContext, allowed: Allowed) -> None:
    from ...topology.planning.plan import check_names

    check_names(app.pipeline, allowed)


def _plan(app: AppContext, allowed: Allowed) -> Plan:
    from ...topology.planning.plan import plan

    _check_names(app, allowed)
    return plan(app.pipeline, app.cluster, allowed)


def _plan_topics(app: AppContext, allowed: Allowed) -> Plan:
    from ...topology.planning.plan import plan_topics

    return plan_topics(app.pipeline, app.cluster, allowed)


def _recording(app: AppContext, reason: str, *, without_audit: bool) -> Recording:
    from ...topology.planning.recording import Recording

    return Recording(actor=app.actor(), reason=reason, is_audited=not without_audit)


def _apply(app: AppContext, planned: Plan, recording: Recording) -> Applied:
    from ...topology.cluster.audit_writer import AuditUnwritable
    from ...topology.planning.apply import ApplyFailed, apply

    try:
        return apply(planned, app.cluster, recording)
    except (ApplyFailed, AuditUnwritable) as failed:
        raise CommandFailure(str(failed), ExitCode.FINDING) from failed


def _register(app: AppContext, applied: Applied, recording: Recording) -> list[IncompatibleSchema]:
    from ...schemas import StoreError
    from ...topology.cluster.audit_writer import AuditUnwritable
    from ...topology.planning.registration import register_contracts

    try:
        return register_contracts(app.pipeline, app.cluster, recording)
    except StoreError:
        note_unregistered(applied)
        raise
    except AuditUnwritable as failed:
        note_unregistered(applied)
        raise CommandFailure(str(failed), ExitCode.FINDING) from failed


def _applied_json(planned: Plan, applied: Applied, contracts: list[IncompatibleSchema]) -> dict[str, object]:
    from ...topology.planning.findings import refused_schemas

    return {
        "namespace": planned.namespace,
        "created": applied.created,
        "grown": applied.grown,
        "configured": applied.configured,
        "deleted": applied.deleted,
        "kept": applied.kept,
        "refused": [finding.to_json() for finding in planned.refused],
        "refused_schemas": refused_schemas(contracts),
    }
