"""`register_contracts`: makes the contracts of all job types known, and puts on record who did, and why."""

from __future__ import annotations

from collections.abc import Iterable

from ...schemas import IncompatibleSchema, SchemaStore
from ...schemas.stores.versions import registered
from ..cluster.audit_writer import AuditWriter
from ..cluster.settings import ClusterSettings
from ..declaration.job_type import AnyJobType
from ..declaration.pipeline import Pipeline
from .contract_records import contracts_entry, ended
from .contracts import refused_contracts
from .recording import RECORDED, ActionRecord, Recording
from .schema_store import unrecorded_store


def register_contracts(
    pipeline: Pipeline, cluster: ClusterSettings, recording: Recording = RECORDED
) -> list[IncompatibleSchema]:
    """Register the contract of each job type, so that readers know it before the first job; returns the refused ones.

    The audit topic has an entry before the first one is registered, and one after the last.

    Args:
        recording: who registers them, and why.

    Raises:
        StoreError: the store is missing or does not answer.
        AuditUnwritable: the audit topic does not take the entry, and nothing was registered.
    """
    store = unrecorded_store(pipeline, cluster)
    try:
        refused = refused_contracts(pipeline, store)
        new = _new(pipeline, store, {refusal.job_type for refusal in refused})
        return [*refused, *_register(new, store, pipeline, cluster, recording)]
    finally:
        store.close()


def _new(pipeline: Pipeline, store: SchemaStore, refused: Iterable[str]) -> list[AnyJobType]:
    sound = [found for name, found in pipeline.job_types.items() if name not in refused]
    return [found for found in sound if registered(found.contract, store.versions(found.name)) is None]


def _register(
    new: list[AnyJobType], store: SchemaStore, pipeline: Pipeline, cluster: ClusterSettings, recording: Recording
) -> list[IncompatibleSchema]:
    if not (new and recording.is_audited):
        return _refused_of(new, store)
    entry = contracts_entry({found.contract: store.versions(found.name) for found in new}, recording)
    with AuditWriter(cluster, pipeline.audit_topic) as writer:
        record = ActionRecord(entry, writer)
        record.begin()
        with ended(record):
            return _refused_of(new, store)


def _refused_of(new: list[AnyJobType], store: SchemaStore) -> list[IncompatibleSchema]:
    """Register contracts; those that another process has made impossible in the meantime are refused."""
    refused = []
    for job_type in new:
        try:
            store.register(job_type.contract, job_type.compatibility)
        except IncompatibleSchema as refusal:
            refused.append(refusal)
    return refused
