"""A call becomes a row of the outbox: the producer's own record, whose partition the relay chooses."""

from __future__ import annotations

import json
import os
from typing import Final

from ...databases.outbox.table import NewRow
from ...schemas import MemorySchemaStore, SchemaStore
from ...topology.cluster.settings import REGISTRY_VARIABLE, ClusterSettings
from ...topology.declaration.job_type import CallOptions, JobCall
from ...topology.declaration.pipeline import Pipeline
from ...topology.declaration.queue import Queue
from ...topology.planning.schema_store import schema_store
from ..call_options import check_tenant
from ..readiness import Readiness
from ..record import ANY_PARTITION, RecordBuilder, partition_key
from ..settings import default_source
from ..tracing.spans import EnqueueSpans

_NOT_ASKED: Final = 1


class RowBuilder:
    """Builds rows without a broker: checks and errors are the producer's, those about the cluster are the relay's.

    Only a Schema Registry is asked, once for each job type, for the id that its payloads carry.
    """

    def __init__(
        self, pipeline: Pipeline, cluster: ClusterSettings | None, source: str | None, store: SchemaStore | None
    ) -> None:
        self._store = store or _framing_store(pipeline, cluster)
        self._readiness = Readiness(pipeline, self._store, _NoCluster())
        self._builder = _UnplacedBuilder(self._store, default_source() if source is None else source, {})

    def build(self, call: JobCall) -> NewRow:
        """Make the row of a call.

        Raises:
            CallRefused: as `Producer.enqueue`.
            ContractNotReady, RegistryUnreachable: the Schema Registry does not take the contract, or does not answer.
        """
        job_type = call.job_type
        if not self._readiness.covers(job_type):
            self._readiness.prepare(job_type)
        topic, key, value, headers, _, job_id = EnqueueSpans.find().create(call, self._builder.build)
        queue = job_type.queue
        tenant = check_tenant(job_type.name, call.tenant) if queue.route_by == "tenant" else None
        chosen_by = partition_key(queue, key, tenant, call.options)
        written = json.dumps({name: value.decode() for name, value in headers})
        return NewRow(job_id, job_type.name, topic, chosen_by, key, written, value)


class _UnplacedBuilder(RecordBuilder):
    def _partition(self, queue: Queue, key: bytes | None, tenant: bytes | None, options: CallOptions) -> int:
        return ANY_PARTITION


class _NoCluster:
    """Answers for the brokers, which the outbox does not need."""

    def verify(self) -> None:
        """See ClusterCheck."""

    def partitions(self, topic: str) -> int:
        """See ClusterCheck."""
        return _NOT_ASKED


def _framing_store(pipeline: Pipeline, cluster: ClusterSettings | None) -> SchemaStore:
    has_registry = bool(os.environ.get(REGISTRY_VARIABLE) if cluster is None else cluster.schema_registry_url)
    if not has_registry:
        return MemorySchemaStore()
    return schema_store(pipeline, cluster or ClusterSettings.from_environment())
