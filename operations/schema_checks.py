"""Compare the contracts of the code with the committed files and with what the cluster holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..schemas import Compatibility, IncompatibleSchema, SchemaFinding, SchemaStore, StoredSchema, compare, load
from ..schemas.codec.schema import RecordSchema
from ..topology import ClusterSettings, Pipeline
from ..topology.declaration.job_type import AnyJobType
from ..topology.planning.contracts import STORE_TIMEOUT_S
from ..topology.planning.schema_store import schema_store

Versions = Mapping[str, Sequence[StoredSchema]]


def check_files(pipeline: Pipeline, folder: Path, mode: Compatibility | None) -> list[SchemaFinding]:
    """Find where the code and the committed files differ, and where the difference breaks a rule.

    Args:
        mode: the rule for all job types; None takes each one's own.

    Raises:
        SchemaFileBroken: a committed file is not an Avro schema.
    """
    files = load(folder)
    job_types = pipeline.job_types.values()
    contracts = [job_type.contract for job_type in job_types]
    drift = compare(contracts, files, {}, Compatibility.NONE)
    committed = {name: [_as_version(name, schema)] for name, schema in files.items()}
    return [*drift, *(replace(found, against="files") for found in _breaks(job_types, committed, mode))]


def check_cluster(pipeline: Pipeline, cluster: ClusterSettings, mode: Compatibility | None) -> list[SchemaFinding]:
    """Find where the code breaks a rule towards the versions that the cluster holds: all that `apply` would refuse.

    Raises:
        StoreError: the store is missing or does not answer.
    """
    store = schema_store(pipeline, cluster)
    try:
        store.refresh(STORE_TIMEOUT_S)
        versions = {name: store.versions(name) for name in pipeline.job_types}
        found = _breaks(pipeline.job_types.values(), versions, mode)
        broken = {finding.job_type for finding in found}
        others = [job_type for job_type in pipeline.job_types.values() if job_type.name not in broken]
        return [*found, *(refusal for job_type in others for refusal in _stores_own(job_type, store, mode))]
    finally:
        store.close()


def _stores_own(job_type: AnyJobType, store: SchemaStore, mode: Compatibility | None) -> Iterable[SchemaFinding]:
    """The store's own objection to a contract that breaks no rule of ours."""
    try:
        store.require_registrable(job_type.contract, mode or job_type.compatibility)
    except IncompatibleSchema as refusal:
        yield SchemaFinding(
            job_type=job_type.name,
            against="cluster",
            rule=refusal.rule,
            field=refusal.field,
            explanation=refusal.explanation,
        )


def _as_version(job_type: str, schema: RecordSchema) -> StoredSchema:
    return StoredSchema(job_type=job_type, frame_id=b"", schema=schema, registered_at=None)


def _breaks(job_types: Iterable[AnyJobType], versions: Versions, mode: Compatibility | None) -> list[SchemaFinding]:
    return [
        found
        for job_type in job_types
        for found in compare([job_type.contract], _same(job_type), versions, mode or job_type.compatibility)
    ]


def _same(job_type: AnyJobType) -> dict[str, RecordSchema]:
    """Files that agree with the code, so that only the versions are compared."""
    return {job_type.name: job_type.contract.schema}
