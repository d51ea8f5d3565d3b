"""Where a pipeline's schemas are kept on a cluster: its own compacted topic, or a Schema Registry."""

from __future__ import annotations

from ..schemas import SchemaStore
from .cluster import ClusterSettings
from .pipeline import Pipeline


def schema_store(pipeline: Pipeline, cluster: ClusterSettings) -> SchemaStore:
    """Open the store; nothing is connected before its first use.

    Raises:
        RegistryMissing: a registry is configured, and its client is not installed.
    """
    if cluster.schema_registry_url is None:
        # Imported here, as each store pulls in a client that the other does not need.
        from ..schemas.topic_store import TopicSchemaStore

        return TopicSchemaStore(cluster.client_config(), pipeline.schemas_topic)
    from ..schemas.registry_store import RegistrySchemaStore

    return RegistrySchemaStore(cluster.schema_registry_url, namespace=pipeline.namespace)
