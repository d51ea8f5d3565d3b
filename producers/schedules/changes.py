"""`ChangeWriter`: writes changes of schedules with their audit records, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from confluent_kafka import TopicPartition

from ...schemas.own_records.control_records import RecordPlace
from ...topology import ClusterSettings, NotAuthorized, Pipeline
from ...topology.cluster.stable_ends import StableEnds
from ..client import Outage
from ..transaction_writer import TransactionFailed, TransactionRecord, TransactionWriter
from .errors import ScheduleUnconfirmed


class ChangeWriter:
    """Writes under a transactional id of its own, so that operators do not shut each other out. Not thread-safe."""

    def __init__(self, pipeline: Pipeline, cluster: ClusterSettings) -> None:
        self._pipeline, self._cluster = pipeline, cluster
        outage = Outage(cluster.bootstrap_servers, "schedules", "the change waits for them for a while")
        transactional_id = f"{pipeline.schedules_topic}.{uuid.uuid4().hex}"
        self._writer = TransactionWriter(cluster, transactional_id, outage, client_id="stoker-schedules")
        self._ends = StableEnds(cluster, client_id="stoker-schedules")

    def write(self, records: Sequence[TransactionRecord], audits: Sequence[TransactionRecord]) -> list[RecordPlace]:
        """Write all of it, or nothing; returns the places, those of the records first. Who looks then sees them.

        Raises:
            ScheduleUnconfirmed: the brokers did not confirm it in time.
            NotAuthorized: they forbid it.
        """
        try:
            if not self._writer.is_connected:
                self._writer.connect()
            places = self._writer.write([*records, *audits])
        except TransactionFailed as failed:
            raise self._in_words(failed) from failed
        self._ends.wait_past(TopicPartition(place.topic, place.partition, place.offset) for place in places)
        return places

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()

    def _in_words(self, failed: TransactionFailed) -> Exception:
        if not failed.is_forbidden:
            return ScheduleUnconfirmed(str(failed), is_perhaps_changed=failed.is_perhaps_committed)
        topics = (self._pipeline.schedules_topic, self._pipeline.audit_topic)
        missing = [("Write", f"topic {topic}") for topic in topics]
        missing.append(("Write", f"transactional-id {self._pipeline.schedules_topic}.*"))
        return NotAuthorized(self._cluster.principal, missing)
