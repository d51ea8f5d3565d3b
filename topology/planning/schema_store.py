"""Where a pipeline's schemas are kept on a cluster: its own compacted topic, or a Schema Registry."""

from __future__ import annotations

from ...schemas import SchemaStore
from ...schemas.stores.store import Recorded, unrecorded
from ..cluster.clients import check_options
from ..cluster.settings import ClusterSettings
from ..declaration.pipeline import Pipeline
from .contract_records import recorded_alone


def schema_store(pipeline: Pipeline, cluster: ClusterSettings) -> SchemaStore:
    """Open the store; nothing is connected before its first use. The audit topic has who registers something with it.

    Raises:
        RegistrySettingRefused: the registry's address or one of its settings cannot be.
        RegistryMissing: a registry is configured, and its client is not installed.
        ClientOptionRefused: the cluster's options do not do.
    """
    return _opened(pipeline, cluster, recorded_alone(cluster, pipeline.audit_topic))


def unrecorded_store(pipeline: Pipeline, cluster: ClusterSettings) -> SchemaStore:
    """Open the store for those who put on record themselves what they register; raises as `schema_store`."""
    return _opened(pipeline, cluster, unrecorded)


def _opened(pipeline: Pipeline, cluster: ClusterSettings, recorded: Recorded) -> SchemaStore:
    check_options(cluster)
    if cluster.schema_registry_url is None:
        # Imported here, as each store pulls in a client that the other does not need.
        from ...schemas.stores.topic_store import TopicSchemaStore

        return TopicSchemaStore(
            cluster.reader_config(), pipeline.schemas_topic, principal=cluster.principal, recorded=recorded
        )
    from ...schemas.stores.registry_store import RegistrySchemaStore

    return RegistrySchemaStore(
        cluster.schema_registry_url,
        cluster.schema_registry_options,
        namespace=pipeline.namespace,
        job_types=pipeline.job_types,
        recorded=recorded,
    )
