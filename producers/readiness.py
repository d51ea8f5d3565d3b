"""Before the first job: the topics are as declared, and the contract is where workers look for it."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from .. import schemas
from ..schemas import (
    IncompatibleSchema,
    SchemaStore,
    SchemaStoreForbidden,
    SchemaStoreUnreachable,
    SchemaTopicMissing,
    StoreError,
)
from ..topology.cluster.admin import Administration
from ..topology.cluster.clients import ClientOptionRefused
from ..topology.cluster.settings import ClusterSettings, ClusterUnreachable
from ..topology.cluster.settings import NotAuthorized as AdministrationRefused
from ..topology.declaration.job_type import AnyJobType
from ..topology.declaration.pipeline import Pipeline
from ..topology.planning.access import require_on_topics
from ..topology.planning.rights import Operation, Resource, Right
from ..topology.planning.verify import VERIFY_TIMEOUT_S, TopologyMismatch, verify
from .errors import (
    ContractNotReady,
    NotAuthorizedAtStart,
    OptionRefused,
    RegistryUnreachable,
    SettingRefused,
    TopologyNotReady,
    UnreachableAtStart,
)


class ClusterCheck(Protocol):
    """The questions of the readiness check to the cluster."""

    def verify(self) -> None:
        """Compare the topics with what is declared.

        Raises:
            TopologyNotReady, UnreachableAtStart, NotAuthorizedAtStart: they differ, or the cluster does not answer.
        """

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has; raises as `verify`."""


class Readiness:
    """Verifies the topology once, and registers each job type's contract once, before its first job is published.

    What failed is tried again by the next call, so that a producer started during an outage works after it. Calls
    that wait while the brokers do not answer one of them fail together with it: the tenth does not wait ten times as
    long.

    Attributes:
        partitions: {topic: partitions it has} of the job types that are prepared.
    """

    def __init__(self, pipeline: Pipeline, store: SchemaStore, check: ClusterCheck) -> None:
        self._pipeline, self._store, self._check = pipeline, store, check
        self._lock: Final = threading.Lock()
        self._silence: UnreachableAtStart | RegistryUnreachable | None = None
        self._silent_at_s = -math.inf
        self._is_verified = False
        self._ready: set[AnyJobType] = set()
        self.partitions: dict[str, int] = {}

    def covers(self, job_type: AnyJobType) -> bool:
        """Whether `prepare` has nothing left to do for the job type; cheap."""
        return job_type in self._ready

    def verify(self, asked_at_s: float | None = None) -> None:
        """Compare the topics with what is declared, unless that was done; raises as `ClusterCheck.verify`.

        Args:
            asked_at_s: `time.monotonic()` at which the caller began to wait, where that was before this call.
        """
        self._ask(self._verify, asked_at_s)

    def prepare(self, job_type: AnyJobType, asked_at_s: float | None = None) -> None:
        """Do what must be done before a job of this type is published.

        Args:
            asked_at_s: `time.monotonic()` at which the caller began to wait, where that was before this call.

        Raises:
            OptionRefused: the job type is another pipeline's.
            NotReady, UnreachableAtStart, NotAuthorizedAtStart: topics or contract are not in order, or cannot be known.
        """
        if self._pipeline.job_types.get(job_type.name) is not job_type:
            reason = f"is not declared in the pipeline {self._pipeline.namespace!r} of this producer"
            raise OptionRefused(job_type.name, "the job type", reason)
        self._ask(lambda: self._prepare(job_type), asked_at_s)

    def _ask(self, question: Callable[[], None], asked_at_s: float | None) -> None:
        """Put one question at a time; an unanswered one is the answer of all callers that waited for their turn."""
        asked_at_s = time.monotonic() if asked_at_s is None else asked_at_s
        with self._lock:
            if self._silence is not None and self._silent_at_s >= asked_at_s:
                raise copy.copy(self._silence) from self._silence
            try:
                question()
            except (UnreachableAtStart, RegistryUnreachable) as silence:
                self._silence, self._silent_at_s = silence, time.monotonic()
                raise

    def _verify(self) -> None:
        if not self._is_verified:
            self._check.verify()
            self._is_verified = True

    def _prepare(self, job_type: AnyJobType) -> None:
        self._verify()
        if job_type not in self._ready:
            topic = job_type.queue.topic
            self.partitions[topic] = self.partitions.get(topic) or self._check.partitions(topic)
            self._register(job_type)
            self._ready.add(job_type)

    def _register(self, job_type: AnyJobType) -> None:
        try:
            self._store.register(job_type.contract, job_type.compatibility)
        except SchemaStoreForbidden as refusal:
            raise NotAuthorizedAtStart("", job_type.queue.topic, str(refusal)) from refusal
        except schemas.RegistryUnreachable as silence:
            raise RegistryUnreachable(str(silence)) from silence
        except SchemaStoreUnreachable as silence:
            raise UnreachableAtStart("", job_type.queue.topic, str(silence)) from silence
        except SchemaTopicMissing as missing:
            raise TopologyNotReady(str(missing)) from missing
        except (IncompatibleSchema, StoreError) as refusal:
            raise ContractNotReady(str(refusal)) from refusal


class KafkaCheck:
    """Asks the cluster itself, each question within a bounded time."""

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings, timeout_s: float) -> None:
        self._pipeline, self._cluster = pipeline, cluster
        self._timeout_s = min(timeout_s, VERIFY_TIMEOUT_S)

    def verify(self) -> None:
        """See ClusterCheck."""
        with self._as_enqueue_errors(""):
            verify(self._pipeline, self._cluster, timeout_s=self._timeout_s)

    def partitions(self, topic: str) -> int:
        """See ClusterCheck."""
        with self._as_enqueue_errors(topic):
            administration = Administration(self._cluster, self._timeout_s)
            writing = Right(operation=Operation.WRITE, resource=Resource.TOPIC, name=topic)
            require_on_topics([writing], [topic], self._cluster, administration)
            found = administration.topics([topic])
            if topic not in found:
                raise TopologyNotReady(f"topic {topic} does not exist; run `stoker topology apply`")
            return found[topic].partitions

    @contextmanager
    def _as_enqueue_errors(self, topic: str) -> Iterator[None]:
        try:
            yield
        except TopologyMismatch as mismatch:
            raise TopologyNotReady(str(mismatch)) from mismatch
        except ClusterUnreachable as silence:
            raise UnreachableAtStart("", topic, str(silence)) from silence
        except AdministrationRefused as refusal:
            raise NotAuthorizedAtStart("", topic, str(refusal)) from refusal
        except ClientOptionRefused as refusal:
            raise SettingRefused(refusal.option, refusal.reason) from refusal
