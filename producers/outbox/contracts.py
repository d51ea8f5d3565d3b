"""`OutboxContracts`: registers the contracts of a pipeline before the first row of its outbox goes out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator

from ...schemas import IncompatibleSchema, RegistryUnreachable, SchemaError, SchemaStore, SchemaStoreUnreachable
from ...topology.cluster.settings import ClusterSettings
from ...topology.declaration.pipeline import Pipeline
from ...topology.log_pace import LogPace
from ...topology.planning.schema_store import schema_store
from .flight import Flight
from .pace import LOG_EVERY_S

_LOGGER = logging.getLogger("stoker.outbox")


class OutboxContracts:
    """The contracts that rows of one outbox may need; one thread uses them.

    Args:
        outbox: its name, for logs.
        store: where they are registered; None makes the one of the cluster settings.
    """

    def __init__(
        self, outbox: str, pipeline: Pipeline, cluster: ClusterSettings, store: SchemaStore | None, flight: Flight
    ) -> None:
        self._outbox, self._pipeline = outbox, pipeline
        self._cluster, self._store = cluster, store
        self._flight = flight
        self._register_at_s = -math.inf
        self._log_pace = LogPace()

    def register(self) -> bool:
        """Put the contracts where workers look for them, once; False while their store does not answer.

        A contract that is refused keeps no other one from its place.
        """
        if time.monotonic() < self._register_at_s:
            return True
        if not self._flight.answers():  # a store on the cluster would wait for much longer
            return False
        store = self._store or schema_store(self._pipeline, self._cluster)
        refused: list[SchemaError] = []
        try:
            refused += self._register_each(store)
        except (SchemaStoreUnreachable, RegistryUnreachable) as silence:
            if self._log_pace.try_acquire(time.monotonic()):
                _LOGGER.warning("outbox %s: rows wait for the schema store: %s", self._outbox, silence)
            return False
        except SchemaError as refusal:  # of the store, which takes none
            refused.append(refusal)
        finally:
            if self._store is None:
                store.close()
        self._register_at_s = time.monotonic() + LOG_EVERY_S if refused else math.inf
        for fault in refused:
            _LOGGER.error(
                "outbox %s: a contract could not be registered, so workers defer its jobs; rows are published: %s",
                self._outbox, fault,
            )  # fmt: skip
        return True

    def _register_each(self, store: SchemaStore) -> Iterator[IncompatibleSchema]:
        for job_type in self._pipeline.job_types.values():
            try:
                store.register(job_type.contract, job_type.compatibility)
            except IncompatibleSchema as refusal:
                yield refusal
