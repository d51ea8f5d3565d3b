"""Planning: compare the declaration with an inventory of the cluster, and plan what apply does and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ..cluster.admin import Administration
from ..cluster.settings import ClusterSettings
from ..declaration.pipeline import Pipeline
from ..declaration.topics import Role, declared_topics
from .access import require_on_topics
from .contracts import contracts_refused_on
from .differences import pipeline_findings, queue_findings, unmanaged_findings
from .findings import NOTHING, Allowed, CreateTopic, Group, Plan, PlanFinding
from .inventory import Inventory, read_inventory
from .rights import Duty, rights_for

_AGEING: Final = frozenset({Role.EVENTS, Role.WORKERS, Role.AUDIT, Role.STATS, Role.SHARES})
"""The pipeline's own topics whose records age out."""


def plan(pipeline: Pipeline, cluster: ClusterSettings, allowed: Allowed = NOTHING) -> Plan:
    """Read the cluster and plan what apply would do, to topics and with contracts; change nothing.

    Raises:
        UnknownName: something is allowed for a queue that is not declared.
        ClusterUnreachable, NotAuthorized: the cluster does not answer.
        StoreError: the schema store does not answer whether it takes the contracts.
    """
    planned = plan_topics(pipeline, cluster, allowed)
    created = (step.spec.name for step in planned.steps if isinstance(step, CreateTopic))
    if cluster.schema_registry_url is None and pipeline.schemas_topic in created:
        return planned  # no contract was ever registered
    return replace(planned, contracts=tuple(contracts_refused_on(pipeline, cluster)))


def plan_topics(pipeline: Pipeline, cluster: ClusterSettings, allowed: Allowed = NOTHING) -> Plan:
    """Plan the topics without the contracts, for callers that register them next, or not at all.

    Raises:
        UnknownName, ClusterUnreachable, NotAuthorized: see `plan`.
    """
    check_names(pipeline, allowed)
    administration, with_schemas = Administration(cluster), cluster.schema_registry_url is None
    names = [spec.name for spec in declared_topics(pipeline, with_schemas=with_schemas)]
    looking = rights_for(Duty.PLAN, pipeline, with_schemas=False)  # what the contracts need is asked where they are
    require_on_topics(looking, names, cluster, administration)
    inventory = read_inventory(pipeline, administration)
    return plan_for(pipeline, inventory, allowed, with_schemas=with_schemas)


def check_names(pipeline: Pipeline, allowed: Allowed) -> None:
    """Refuse permissions that name no queue, since they would silently allow nothing.

    Raises:
        UnknownName: see above.
    """
    named = allowed.repartition | allowed.reroute | allowed.tier_removal | (allowed.shorter_retention - _AGEING)
    for name in sorted(named):
        pipeline.find_queue(name)


def plan_for(
    pipeline: Pipeline, inventory: Inventory, allowed: Allowed = NOTHING, *, with_schemas: bool = True
) -> Plan:
    """Compare a declaration with an inventory. Pure.

    Args:
        with_schemas: False where a Schema Registry holds the schemas.
    """
    findings: list[PlanFinding] = []
    for queue in pipeline.queues.values():
        findings += queue_findings(pipeline, queue, inventory, allowed)
    findings += pipeline_findings(pipeline, inventory, allowed, with_schemas=with_schemas)
    findings += unmanaged_findings(pipeline, inventory)
    return Plan(namespace=pipeline.namespace, findings=tuple(_by_group(findings)))


def _by_group(findings: Iterable[PlanFinding]) -> list[PlanFinding]:
    order = {group: number for number, group in enumerate(Group)}
    return sorted(findings, key=lambda finding: order[finding.group])
