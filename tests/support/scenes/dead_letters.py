"""What the tests of replay stand on: topics, dead letters made by the wire contract alone, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from stoker.operations.replay.dead_letter_replay import Replaying
from stoker.operations.replay.payloads import PayloadCorrector
from stoker.operations.stored_jobs.errors import TopicAbsent
from stoker.operations.stored_jobs.originals import Originals
from stoker.operations.stored_jobs.stored_job import StoredJob, record_of
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.schemas import MemorySchemaStore
from stoker.schemas.own_records.audit_entries import AuditEntry, decode_audit_entry
from stoker.schemas.own_records.own import is_own
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from stoker.topology.planning.recording import TOPOLOGY_APPLIED
from stoker.topology.wire import headers as wire
from support.waiting import wait_until

PARTITIONS = 3
BROKEN = b"not a payload"


def build_pipeline(namespace: str) -> Pipeline:
    """A pipeline with one queue and one job type."""
    pipeline = Pipeline(namespace)
    orders = pipeline.queue("orders", partitions=PARTITIONS)

    # mypy cannot infer the parameters through both of the decorator's callables
    @pipeline.job(orders, max_payload_bytes=1_000)
    def charge(order: int, note: str = "") -> None:
        """Charge an order."""

    return pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One queue's topics on a real cluster, and a store that knows the contract."""

    cluster: ClusterSettings
    pipeline: Pipeline
    store: MemorySchemaStore

    @property
    def queue(self) -> Queue:
        """The one queue."""
        return self.pipeline.find_queue("orders")

    @property
    def address(self) -> tuple[str, str]:
        """What another process needs to join in."""
        return self.cluster.bootstrap_servers, self.pipeline.namespace

    def enqueue(self, orders: Iterable[int], *extra: tuple[str, bytes]) -> None:
        """Put jobs on the main topic, as a plain client would."""
        producer = Producer(self.cluster.client_config(linger_ms=5))
        for order in orders:
            producer.produce(
                self.queue.topic,
                self.payload(order),
                f"key-{order}".encode(),
                order % PARTITIONS,
                headers=[(wire.JOB_ID, f"job-{order}".encode()), (wire.JOB_TYPE, b"charge"), *extra],
            )
        assert producer.flush(20) == 0

    def audits(self) -> list[AuditEntry]:
        """The entries of replays and discards on the audit topic, in their order."""
        values = [record.value for record in self.records(self.pipeline.audit_topic)]
        entries = [decode_audit_entry(value) for value in values if is_own("AuditEntry", value)]
        return [entry for entry in entries if entry.action != TOPOLOGY_APPLIED]

    def wait_audits(self, count: int) -> list[AuditEntry]:
        """The same, once there are so many: the last transaction is seen a moment after its commit is answered."""
        wait_until(lambda: len(self.audits()) >= count, what=f"{count} audit records")
        return self.audits()

    @property
    def charge(self) -> JobType[[int, str], None]:
        """The one job type."""
        return self.pipeline.find_job_type("charge")

    def payload(self, order: int, note: str = "") -> bytes:
        """Framed bytes of a payload."""
        contract = self.charge.contract
        return self.store.frame(contract, contract.encode(contract.payload((order, note), {})))

    def add_dead(self, dead_letters: Iterable[DeadJob]) -> None:
        """Put dead letters on their topic."""
        producer = Producer(self.cluster.client_config(linger_ms=5))
        for dead_letter in dead_letters:
            producer.produce(
                self.queue.dead_topic,
                self.payload(dead_letter.order) if dead_letter.value is None else dead_letter.value,
                f"key-{dead_letter.order}".encode(),
                dead_letter.order % PARTITIONS,
                headers=dead_letter.headers(self.queue.topic),
                timestamp=int(dead_letter.died_at.timestamp() * 1_000) if dead_letter.died_at else 0,
            )
        assert producer.flush(20) == 0

    def replaying(self, payloads: PayloadCorrector | None = None) -> Replaying:
        """What a replay does with a dead letter of the queue."""
        corrector = payloads or PayloadCorrector(self.pipeline, self.store)
        return Replaying(self.queue, corrector, Originals(self.cluster, self.queue))

    def records(self, topic: str) -> list[StoredJob]:
        """Every committed record of a topic."""
        with TopicReader(self.cluster, topic) as reader:
            return [record_of(message) for message in reader.read(reader.spans())]

    def replayed_ids(self) -> Counter[str]:
        """{job id: committed records on the main topic}."""
        return Counter(record.job_id for record in self.records(self.queue.topic))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJob:
    """A dead letter to be made."""

    order: int
    job_type: str = "charge"
    error: str = "shop.errors.CardRefused"
    fingerprint: str = "00aa11bb22cc33dd"
    value: bytes | None = None
    died_at: datetime | None = None
    extra: tuple[tuple[str, bytes], ...] = ()

    @property
    def job_id(self) -> str:
        """The id of its job."""
        return f"job-{self.order}"

    def headers(self, topic: str) -> list[tuple[str, str | bytes | None]]:
        """As a worker writes them."""
        return [
            (wire.SPEC_VERSION, wire.SPEC_VERSION_1_0),
            (wire.JOB_ID, self.job_id.encode()),
            (wire.JOB_TYPE, self.job_type.encode()),
            (wire.SOURCE, b"till"),
            (wire.TIME, wire.format_instant(datetime(2013, 1, 1, tzinfo=UTC))),
            (wire.CONTENT_TYPE, wire.CONTENT_TYPE_AVRO),
            (wire.TRACE_PARENT, b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tenant", b"north"),
            ("tenant", b"south"),
            *self.extra,
            (wire.ATTEMPT, b"5"),
            (wire.ORIGIN, f"{topic}/{self.order % PARTITIONS}/{self.order}".encode()),
            (wire.FIRST_FAILED, wire.format_instant(datetime(2013, 1, 1, tzinfo=UTC))),
            (wire.ERROR_TYPE, self.error.encode()),
            (wire.ERROR_MESSAGE, "the bank said no · twice".encode()),
            (wire.ERROR_STACK, b"Traceback\n  charge\nCardRefused"),
            (wire.ERROR_FINGERPRINT, self.fingerprint.encode()),
            (wire.REASON, b"attempts-exhausted"),
            (wire.WORKER, b"w1"),
        ]


def open_bench(cluster: ClusterSettings, namespace: str, *, create: bool = True) -> Bench:
    """A bench; `create` makes the topics, a process that joins in goes without."""
    pipeline = build_pipeline(namespace)
    store = MemorySchemaStore()
    charge = pipeline.find_job_type("charge")
    store.register(charge.contract, charge.compatibility)
    bench = Bench(cluster=cluster, pipeline=pipeline, store=store)
    if create:
        _create(cluster, bench.queue.topic, bench.queue.dead_topic, pipeline.audit_topic)
    return bench


def _create(cluster: ClusterSettings, *topics: str) -> None:
    admin = AdminClient(cluster.client_config())
    made = admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    for future in made.values():
        future.result(30)
    for topic in topics:
        wait_until(partial(_is_usable, cluster, topic), what=f"topic {topic} to have leaders")


def _is_usable(cluster: ClusterSettings, topic: str) -> bool:
    with TopicReader(cluster, topic) as reader:
        try:
            return len(reader.spans()) == PARTITIONS
        except TopicAbsent:
            return False
