"""`AuditWriter`: writes entries to the audit topic, each confirmed by all in-sync replicas before it returns."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, Producer

from ...schemas.own_records.audit_entries import AuditEntry, encode_audit_entry
from .clients import make_client
from .kafka_errors import FORBIDDEN
from .settings import ClusterSettings, NotAuthorized, Option

WITHIN_S: Final = 15.0
_STEP_S: Final = 0.1


class AuditUnwritable(Exception):
    """The audit topic does not take an entry, so what it is about was not done.

    Attributes:
        topic: the audit topic.
        reason: why.
    """

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(
            f"the audit topic {topic} does not take the entry of this step, so the step was not done: {reason}. "
            "Steps before it, if any, are done. Fix the reason, or pass `--without-audit` if it cannot wait"
        )
        self.topic, self.reason = topic, reason


class AuditWriter:
    """Writes entries, some at a time. Not thread-safe; connects with the first one."""

    def __init__(self, cluster: ClusterSettings, topic: str, within_s: float = WITHIN_S) -> None:
        """Prepare a writer.

        Args:
            within_s: how long the brokers may take to confirm an entry.
        """
        self._cluster, self._topic, self._within_s = cluster, topic, within_s
        self._producer: Producer | None = None
        self._trouble = "no broker has confirmed it"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._producer = None

    def write(self, entry: AuditEntry) -> None:
        """Write an entry, and return when the brokers have confirmed it.

        Raises:
            AuditUnwritable: they have not, or forbid it.
            ClientOptionRefused: the cluster's options do not do.
        """
        outcome: list[KafkaError | None] = []
        producer = self._connected()
        producer.produce(
            self._topic,
            key=entry.action_id.encode(),
            value=encode_audit_entry(entry),
            partition=0,
            on_delivery=lambda error, _: outcome.append(error),
        )
        deadline_at_s = time.monotonic() + self._within_s
        while not outcome and time.monotonic() < deadline_at_s:
            producer.poll(_STEP_S)
        if not outcome or outcome[0] is not None:
            raise AuditUnwritable(self._topic, self._why(outcome[0] if outcome else None))

    def _connected(self) -> Producer:
        if self._producer is None:
            own: dict[str, Option] = {
                "acks": "all",
                # A producer id costs half a second, and an entry that is there twice counts as one.
                "enable.idempotence": False,
                "linger.ms": 0,
                "log_level": 0,
                "message.timeout.ms": int(self._within_s * 1_000),
                "topic.metadata.propagation.max.ms": int(min(self._within_s, 5) * 1_000),
            }
            config = {**self._cluster.client_config(client_id="stoker-audit"), **own, "error_cb": self._note}
            self._producer = make_client(Producer, config)
        return self._producer

    def _note(self, error: KafkaError) -> None:
        self._trouble = error.str()

    def _why(self, error: KafkaError | None) -> str:
        if error is None or error.code() == KafkaError._MSG_TIMED_OUT:
            return self._trouble
        if error.code() in FORBIDDEN:
            return str(NotAuthorized(self._cluster.principal, [("Write", f"topic {self._topic}")]))
        return error.str()
