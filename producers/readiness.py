"""Before the first job: the topics are as declared, and the contract is where workers look for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from ..schemas import IncompatibleSchema, SchemaStore, SchemaStoreUnreachable, SchemaTopicMissing, StoreError
from ..topology.cluster import ClusterSettings
from ..topology.pipeline import AnyJobType, Pipeline
from ..topology.verify import TopologyMismatch, verify
from .errors import ContractNotReady, OptionRefused, TopologyNotReady, UnreachableAtStart

Verify = Callable[[], None]


class Readiness:
    """Verifies the topology once, and registers each job type's contract once, before its first job is published.

    What failed is tried again by the next call, so that a producer started during an outage works after it.
    """

    def __init__(self, pipeline: Pipeline, store: SchemaStore, verify: Verify) -> None:
        self._pipeline, self._store, self._verify = pipeline, store, verify
        self._lock: Final = threading.Lock()
        self._is_verified = False
        self._ready: set[AnyJobType] = set()

    def covers(self, job_type: AnyJobType) -> bool:
        """Whether `prepare` has nothing left to do for the job type; cheap."""
        return job_type in self._ready

    def verify(self) -> None:
        """Compare the topics with what is declared, unless that was done.

        Raises:
            NotReady, UnreachableAtStart: they differ, or no broker answers.
        """
        with self._lock:
            if not self._is_verified:
                self._verify()
                self._is_verified = True

    def prepare(self, job_type: AnyJobType) -> None:
        """Do what must be done before a job of this type is published.

        Raises:
            OptionRefused: the job type is another pipeline's.
            NotReady, UnreachableAtStart: the topics or the contract are not in order, or no broker answers.
        """
        self.verify()
        if self._pipeline.job_types.get(job_type.name) is not job_type:
            reason = f"is not declared in the pipeline {self._pipeline.namespace!r} of this producer"
            raise OptionRefused(job_type.name, "the job type", reason)
        with self._lock:
            if job_type not in self._ready:
                self._register(job_type)
                self._ready.add(job_type)

    def _register(self, job_type: AnyJobType) -> None:
        try:
            self._store.register(job_type.contract, job_type.compatibility)
        except SchemaStoreUnreachable as silence:
            raise UnreachableAtStart("", job_type.queue.topic, str(silence)) from silence
        except SchemaTopicMissing as missing:
            raise TopologyNotReady(str(missing)) from missing
        except (IncompatibleSchema, StoreError) as refusal:
            raise ContractNotReady(str(refusal)) from refusal


def verify_topology(pipeline: Pipeline, cluster: ClusterSettings) -> None:
    """Compare the cluster's topics with the pipeline's.

    Raises:
        TopologyNotReady: they differ; the message names the command which mends it.
        UnreachableAtStart: no broker answers.
    """
    try:
        verify(pipeline, cluster)
    except TopologyMismatch as mismatch:
        raise TopologyNotReady(str(mismatch)) from mismatch
