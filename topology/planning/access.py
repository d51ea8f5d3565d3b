"""Asks a cluster, before any work is begun, whether this client may do what the work needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ..cluster.admin import ADMIN_TIMEOUT_S, Administration
from ..cluster.settings import ClusterSettings, NotAuthorized
from ..declaration.pipeline import Pipeline
from ..declaration.queue import Queue
from ..declaration.topics import pipeline_topics, queue_topics
from .rights import Duty, Operation, Resource, Right, rights_for

Allowed = Mapping[str, frozenset[str] | None]
"""{topic: operations that are allowed on it}, as `Administration.allowed` returns it."""

_WHOLE: Final = 1
"""A prefix that more topics than this lack is named as the prefix."""


def require_rights(
    duty: Duty,
    pipeline: Pipeline,
    cluster: ClusterSettings,
    queues: Iterable[Queue] | None = None,
    *,
    without: Collection[str] = (),
    timeout_s: float = ADMIN_TIMEOUT_S,
) -> None:
    """See that the client may do to the topics what a part of Stoker does with these queues (all, unless given).

    Args:
        without: topics that are not used this time.

    Kafka does not report beforehand what is allowed on groups and transactional ids, nor on topics that do not exist.

    Raises:
        NotAuthorized: it may not; all that is missing on topics is named at once.
        ClusterUnreachable: no broker answered.
    """
    chosen = list(pipeline.queues.values() if queues is None else queues)
    with_schemas = cluster.schema_registry_url is None
    rights = rights_for(duty, pipeline, chosen, with_schemas=with_schemas)
    names = [spec.name for queue in chosen for spec in queue_topics(pipeline, queue)]
    names += [spec.name for spec in pipeline_topics(pipeline, with_schemas=with_schemas)]
    used = [name for name in names if name not in without]
    require_on_topics(rights, used, cluster, Administration(cluster, timeout_s))


def require_on_topics(
    rights: Iterable[Right], names: Iterable[str], cluster: ClusterSettings, administration: Administration
) -> None:
    """See that the client has those of the rights that are about these topics; raises as `require_rights`.

    Topics of which it needs no more than the settings are left out: without Describe, Kafka answers nothing about them.
    """
    wanted = [right for right in rights if right.resource is Resource.TOPIC]
    describing = [right for right in wanted if right.operation is not Operation.DESCRIBE_CONFIGS]
    concerned = [name for name in names if any(right.covers(Resource.TOPIC, name) for right in describing)]
    missing = missing_rights(wanted, administration.allowed(concerned))
    if missing:
        raise NotAuthorized(cluster.principal, missing)


def missing_rights(wanted: Iterable[Right], allowed: Allowed) -> list[tuple[str, str]]:
    """The rights on topics that a client lacks, as (operation, resource). Pure.

    A right on a prefix that no topic has is named as it is in the table, else topic by topic.
    """
    missing: list[tuple[str, str]] = []
    for right in wanted:
        found = {name: held for name, held in allowed.items() if right.covers(Resource.TOPIC, name)}
        without = [name for name, held in found.items() if held is not None and right.operation not in held]
        if right.is_prefix and len(without) == len(found) > _WHOLE:
            missing.append((right.operation, right.where))
        else:
            missing += [(right.operation, f"{Resource.TOPIC} {name}") for name in without]
    return list(dict.fromkeys(missing))


def require_on_group(operation: str, group: str, cluster: ClusterSettings) -> None:
    """See that the client may do something with a consumer group; raises as `require_rights`."""
    held = Administration(cluster).allowed_on_group(group)
    if held is not None and operation not in held:
        raise NotAuthorized(cluster.principal, [(operation, f"{Resource.GROUP} {group}")])
