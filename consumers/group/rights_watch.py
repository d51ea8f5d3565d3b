"""`RightsWatch`: finds out which right a worker has lost, logs it while it is missing, and notices when it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException

from ...topology import ClusterSettings, ClusterUnreachable, NotAuthorized, Pipeline, Queue
from ...topology.log_pace import LogPace
from ...topology.planning.access import require_on_group, require_rights
from ...topology.planning.rights import Duty
from .. import log_keys

_LOGGER = logging.getLogger("stoker.worker")

ASK_AGAIN_S: Final = 2.0
CALM_S: Final = 10.0
"""How long nothing is asked after nothing was found to be missing: brokers refuse for other reasons, too."""

Ask = Callable[[], None]
"""Asks the cluster for the worker's rights; raises NotAuthorized with those that are missing."""


class RightsWatch:
    """One queue's. It costs nothing before the brokers refuse something; then it asks, in a thread of its own.

    Attributes:
        missing: what is missing at this moment, as far as is known.
    """

    def __init__(self, queue: Queue, ask: Ask) -> None:
        self._queue, self._ask = queue, ask
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._calm_ends_at_s = 0.0
        self._log_pace = LogPace()
        self.missing: NotAuthorized | None = None

    @property
    def is_asking(self) -> bool:
        """Whether something was refused, and it is not known yet that all rights are there again."""
        return self._thread is not None

    def in_words(self) -> str:
        """The missing rights, for people; empty where none is missing."""
        missing = self.missing
        return "" if missing is None else str(missing)

    def alarm(self) -> None:
        """The brokers have refused something: find out what is missing; called from any thread, however often."""
        with self._lock:
            is_calm = time.monotonic() < self._calm_ends_at_s
            if self._thread is None and not self._stopping.is_set() and not is_calm:
                name = f"stoker-rights-{self._queue.name}"
                self._thread = threading.Thread(target=self._watch, name=name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def _watch(self) -> None:
        was_missing = False
        try:
            was_missing = self._ask_until_whole()
        finally:  # else a worker that waits for this one's end would never join its group again
            with self._lock:
                self.missing, self._thread = None, None
                self._calm_ends_at_s = time.monotonic() + (0.0 if was_missing else CALM_S)
        if was_missing and not self._stopping.is_set():
            _LOGGER.warning(
                "the worker of queue %r has its rights back, and goes on", self._queue.name, extra=self._fields
            )

    def _ask_until_whole(self) -> bool:
        """Ask until nothing is missing; returns whether something was."""
        was_missing = False
        while not self._stopping.is_set():
            try:
                self._ask()
            except NotAuthorized as refusal:
                was_missing = True
                self._note_refusal(refusal)
            except (ClusterUnreachable, KafkaException):
                pass  # the other clients log that
            else:
                break
            self._stopping.wait(ASK_AGAIN_S)
        return was_missing

    def _note_refusal(self, refusal: NotAuthorized) -> None:
        if self.missing is None or self.missing.missing != refusal.missing:
            self._log_pace.begin_anew()
        self.missing = refusal
        if self._log_pace.try_acquire(time.monotonic()):
            _LOGGER.error(
                "the worker of queue %r lost a right: the parts that need it wait, and nothing is lost. %s",
                self._queue.name, refusal, extra=self._fields,
            )  # fmt: skip

    @property
    def _fields(self) -> dict[str, object]:
        return {log_keys.QUEUE: self._queue.name}


def ask_cluster(pipeline: Pipeline, queue: Queue, cluster: ClusterSettings) -> Ask:
    """Ask for all rights of a worker, those on its group included."""

    def ask() -> None:
        require_rights(Duty.WORKER, pipeline, cluster, [queue])
        require_on_group("Read", queue.group, cluster)

    return ask
