"""Whether the cluster takes the declared contracts: asked alike by plans, by workers at their start, and by tools."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from ...schemas import IncompatibleSchema, SchemaStore
from ..cluster.settings import ClusterSettings
from ..declaration.job_type import AnyJobType
from ..declaration.pipeline import Pipeline
from .schema_store import schema_store

STORE_TIMEOUT_S: Final = 10.0


class ContractsRefused(Exception):
    """Contracts cannot be registered beside the versions of them that the cluster holds; fix them, then start again.

    Attributes:
        refusals: one for each refused contract.
    """

    def __init__(self, namespace: str, refusals: Iterable[IncompatibleSchema]) -> None:
        self.namespace, self.refusals = namespace, tuple(refusals)
        listed = "".join(f"\n  - {refusal}" for refusal in self.refusals)
        super().__init__(
            f"the cluster does not take these contracts of {namespace!r}, so jobs could not be read or would be read "
            f"wrongly:{listed}"
        )


def refused_contracts(
    pipeline: Pipeline,
    store: SchemaStore,
    queue_names: Collection[str] = (),
    *,
    timeout_s: float = STORE_TIMEOUT_S,
) -> list[IncompatibleSchema]:
    """Find the contracts that `register` would refuse; nothing is registered.

    Args:
        queue_names: only of the job types of these queues; empty for all.

    Raises:
        StoreError: the store is missing or does not answer.
    """
    store.refresh(timeout_s)
    found = (_refusal(job_type, store) for job_type in job_types_of(pipeline, queue_names))
    return [refusal for refusal in found if refusal is not None]


def job_types_of(pipeline: Pipeline, queue_names: Collection[str] = ()) -> list[AnyJobType]:
    """The job types of these queues; of all, where none is named."""
    return [job for job in pipeline.job_types.values() if not queue_names or job.queue.name in queue_names]


def _refusal(job_type: AnyJobType, store: SchemaStore) -> IncompatibleSchema | None:
    try:
        store.require_registrable(job_type.contract, job_type.compatibility)
    except IncompatibleSchema as refusal:
        return refusal
    return None


def contracts_refused_on(pipeline: Pipeline, cluster: ClusterSettings) -> list[IncompatibleSchema]:
    """Open the cluster's schema store, and find the contracts that it would refuse.

    Raises:
        StoreError: the store is missing or does not answer.
    """
    store = schema_store(pipeline, cluster)
    try:
        return refused_contracts(pipeline, store)
    finally:
        store.close()
