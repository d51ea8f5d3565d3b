"""`FollowerReadiness`: registers the contracts of followers, and learns how many partitions their topics have.

A record can be made only after both. The settler waits for neither: it keeps back the outcomes that need them, and
settles all others.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final

from confluent_kafka import KafkaException

from ...producers.errors import EnqueueError
from ...producers.readiness import ClusterCheck
from ...schemas import IncompatibleSchema, SchemaStore, StoreError
from ...topology import AnyJobType, Pipeline, Queue
from .. import log_keys
from ..guarded_thread import GuardedThread

_LOGGER = logging.getLogger("stoker.followers")

ASK_AGAIN_S: Final = 2.0
LOGGED_EVERY: Final = 30
"""A follower that is not ready is logged at once, and then after so many further attempts."""


def followers_of(pipeline: Pipeline, queue: Queue) -> list[AnyJobType]:
    """The job types that follow the jobs of a queue, each once."""
    followed: list[AnyJobType | Queue] = [queue, *(one for one in pipeline.job_types.values() if one.queue is queue)]
    named = [found for one in followed for found in (one.on_dead, one.on_late) if found is not None]
    return [pipeline.job_types[name] for name in dict.fromkeys(found.name for found in named)]


class FollowerReadiness:
    """Prepares followers in a thread: those of the queue's own job types at once, others once one is asked for.

    Attributes:
        partitions: {topic: partitions it has} of those that are ready.
        thread: what prepares them; the worker stops where it crashes: failed jobs would never be settled.
    """

    def __init__(self, pipeline: Pipeline, queue: Queue, store: SchemaStore, check: ClusterCheck) -> None:
        self._queue, self.store, self._check = queue.name, store, check
        self._wanted = {found.name: found for found in followers_of(pipeline, queue)}
        declared: list[AnyJobType | Queue] = [queue, *pipeline.job_types.values()]
        self._has_any = any(one.on_dead or one.on_late for one in declared)
        self._ready: set[str] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self.partitions: dict[str, int] = {}
        self.thread = GuardedThread(f"stoker-followers-{self._queue}", self._run)

    def covers(self, follower: AnyJobType) -> bool:
        """Whether records of it can be made; if not, it is prepared."""
        if follower.name in self._ready:
            return True
        self._wanted.setdefault(follower.name, follower)
        self._wake.set()
        return False

    def start(self) -> None:
        """Begin to prepare them, where the pipeline has any."""
        if self._has_any:
            self.thread.start()

    def stop(self) -> None:
        """Prepare no more."""
        self._stopping.set()
        self._wake.set()

    def _run(self) -> None:
        attempts = Counter[str]()
        while not self._stopping.is_set():
            self._wake.clear()
            missing = [found for name, found in list(self._wanted.items()) if name not in self._ready]
            for follower in missing:
                self._prepare(follower, is_logged=attempts[follower.name] % LOGGED_EVERY == 0)
                attempts[follower.name] += 1
            if self._wanted.keys() <= self._ready:
                self._wake.wait()
            else:
                self._stopping.wait(ASK_AGAIN_S)

    def _prepare(self, follower: AnyJobType, *, is_logged: bool) -> None:
        topic = follower.queue.topic
        try:
            self.partitions[topic] = self._check.partitions(topic)
            self.store.register(follower.contract, follower.compatibility)
        except (EnqueueError, StoreError, IncompatibleSchema, KafkaException) as fault:
            if is_logged and not self._stopping.is_set():
                _LOGGER.error(
                    "jobs of type %r, which follow others, cannot be enqueued yet: %s. Failed jobs of the types that "
                    "name it are not settled until then, and all others go on",
                    follower.name, fault, extra={log_keys.QUEUE: self._queue},
                )  # fmt: skip
        else:
            self._ready.add(follower.name)
