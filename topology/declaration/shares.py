"""Shared limits of a pipeline: those that count the jobs of several workers together, and the queue that gives each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .job_type import AnyJobType
from .limits import Limit, is_shared, named_limits
from .queue import Queue


class DeclaredLimit(NamedTuple):
    """A limit with its name, its owner (a queue or a job type), and the queue whose jobs it counts."""

    name: str
    limit: Limit
    owner: str
    queue: str


def declared_limits(queues: Iterable[Queue], job_types: Iterable[AnyJobType]) -> Iterator[DeclaredLimit]:
    """All limits of these queues and job types."""
    for queue in queues:
        for name, limit in named_limits(queue.name, queue.limits).items():
            yield DeclaredLimit(name, limit, f"queue {queue.name!r}", queue.name)
    for job in job_types:
        for name, limit in named_limits(job.name, job.limits).items():
            yield DeclaredLimit(name, limit, f"job type {job.name!r}", job.queue.name)


def shared_limits(queues: Iterable[Queue], job_types: Iterable[AnyJobType]) -> list[DeclaredLimit]:
    """Those limits that count the jobs of several workers together."""
    return [found for found in declared_limits(queues, job_types) if is_shared(found.limit)]


def givers(queues: Iterable[Queue], job_types: Iterable[AnyJobType]) -> Mapping[str, str]:
    """{name of a shared limit: queue whose first partition's owner gives it}; of a resource, the first by its name."""
    found: dict[str, str] = {}
    for declared in shared_limits(queues, job_types):
        found[declared.name] = min(declared.queue, found.get(declared.name, declared.queue))
    return found


def clashes(new: Iterable[DeclaredLimit], known: Iterable[DeclaredLimit]) -> list[str]:
    """List the limits that cannot have the name that they have."""
    by_name = {declared.name: declared for declared in known}
    found = []
    for declared in new:
        other = by_name.get(declared.name)
        if other is None:
            continue
        if declared.limit.resource is None or other.limit.resource is None:
            found.append(f"{other.owner} has a limit {declared.name!r} already; give one of them another name=")
        elif declared.limit != other.limit:
            found.append(
                f"resource {declared.limit.resource!r} is limited to {declared.limit} here and to {other.limit} by "
                f"{other.owner}; declare the same, or give one of them another name="
            )
    return found
