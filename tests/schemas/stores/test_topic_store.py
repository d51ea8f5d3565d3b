"""The schemas topic, on a real broker."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stoker.schemas import (
    Compatibility,
    Contract,
    Decoder,
    IncompatibleSchema,
    SchemaStoreUnreachable,
    SchemaTopicMissing,
    TopicSchemaStore,
    Undecodable,
    UnknownSchema,
)
from support.waiting import wait_until

if TYPE_CHECKING:
    from stoker.topology.cluster.settings import ClusterSettings

Config = dict[str, str | int | float | bool]


def first(tail: str) -> None:
    """Have the first version of a contract."""


def second(tail: str, delay: int = 0) -> None:
    """Add a field with a default."""


def breaking(tail: str, must: int) -> None:
    """Add a field without a default."""


def contract_of(function: Callable[..., object], job_type: str = "job") -> Contract:
    """Make a version of a job type."""
    return Contract.of_function(function, job_type=job_type, namespace="n")


@pytest.fixture
def config(cluster: ClusterSettings) -> Config:
    """The client options of the running broker."""
    return dict(cluster.client_config())


@pytest.fixture
def topic(config: Config, namespace: str) -> Iterator[str]:
    """A schemas topic of the test's own, compacted as `stoker topology apply` makes it."""
    name, admin = f"{namespace}.schemas", AdminClient(config)
    admin.create_topics([NewTopic(name, 1, 1, config={"cleanup.policy": "compact"})])[name].result(30)
    # Creation is confirmed before every request sees the topic.
    wait_until(lambda: _is_led(admin, name), 60, "the schemas topic to have a leader")
    yield name
    admin.delete_topics([name])[name].result(30)


def _is_led(admin: AdminClient, name: str) -> bool:
    found = admin.list_topics(timeout=10).topics.get(name)
    return found is not None and bool(found.partitions) and found.partitions[0].leader >= 0


def write(config: Config, topic: str, key: bytes, value: bytes | None) -> None:
    """Put a record on the topic as any other program might."""
    producer = Producer(config)
    producer.produce(topic, key=key, value=value)
    assert producer.flush(30) == 0


def test_what_one_process_registers_another_reads(config: Config, topic: str) -> None:
    """A schema registered by one store is known to another after a refresh, versions in order."""
    writer, reader = TopicSchemaStore(config, topic), TopicSchemaStore(config, topic)
    for function in (first, second, first):
        writer.register(contract_of(function), Compatibility.FULL_TRANSITIVE)
    assert reader.versions("job") == []
    reader.refresh(30)
    versions = reader.versions("job")
    assert [version.frame_id for version in versions] == [contract_of(f).fingerprint for f in (first, second)]
    assert [version.schema for version in versions] == [contract_of(f).schema for f in (first, second)]
    assert versions == writer.versions("job")


def test_registering_again_writes_nothing(config: Config, topic: str) -> None:
    """Registering is idempotent across processes: the second one finds the schema and leaves the topic alone."""
    TopicSchemaStore(config, topic).register(contract_of(first), Compatibility.BACKWARD)
    TopicSchemaStore(config, topic).register(contract_of(first), Compatibility.BACKWARD)
    consumer = Consumer({**config, "group.id": topic})
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), 30) == (0, 1)
    consumer.close()


def test_an_incompatible_contract_is_not_registered(config: Config, topic: str) -> None:
    """A contract that breaks the mode is refused with rule and field, and nobody learns of it."""
    store, other = TopicSchemaStore(config, topic), TopicSchemaStore(config, topic)
    store.register(contract_of(first), Compatibility.BACKWARD)
    with pytest.raises(IncompatibleSchema) as refused:
        store.register(contract_of(breaking), Compatibility.BACKWARD)
    assert (refused.value.field, refused.value.rule) == ("must", "BACKWARD (field-without-default)")
    other.refresh(30)
    assert len(other.versions("job")) == 1


def test_two_that_register_at_once_agree(config: Config, topic: str) -> None:
    """Two processes that register one contract at the same time both succeed, and it is one version."""
    stores = [TopicSchemaStore(config, topic) for _ in range(2)]
    gate = threading.Barrier(2)

    def work(store: TopicSchemaStore) -> None:
        gate.wait()
        store.register(contract_of(first), Compatibility.BACKWARD)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    late = TopicSchemaStore(config, topic)
    late.refresh(30)
    assert [len(store.versions("job")) for store in (*stores, late)] == [1, 1, 1]


def test_a_worker_learns_a_schema_that_was_registered_after_its_start(config: Config, topic: str) -> None:
    """A running decoder reads a payload whose schema came later, and tells one that never came as unknown.

    A registry's id is never to be known here: such bytes are garbage, and no reason to wait for a newer worker.
    """
    producer, worker = TopicSchemaStore(config, topic), TopicSchemaStore(config, topic)
    worker.register(contract_of(first), Compatibility.BACKWARD)
    new = contract_of(second)
    producer.register(new, Compatibility.BACKWARD)
    value = producer.frame(new, new.encode(new.payload(("N1",), {})))
    decoder = Decoder(worker)
    assert decoder.decode(contract_of(first), value) == {"tail": "N1"}
    with pytest.raises(UnknownSchema):
        decoder.decode(contract_of(first), b"\xc3\x01" + bytes(8) + b"\x00")
    with pytest.raises(Undecodable):
        decoder.decode(contract_of(first), b"\x00\x00\x00\x00\x01\x00")


def test_records_that_are_no_schema_are_skipped_with_a_warning(
    config: Config, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tombstones, garbage, and a record that lies about its fingerprint hide none of the true schemas."""
    lie: dict[str, Any] = {"job_type": "job", "fingerprint": "00" * 8, "schema": contract_of(second).schema}
    write(config, topic, b"job:gone", None)
    write(config, topic, b"job:garbage", b"\xff\x00")
    write(config, topic, b"job:lie", json.dumps({**lie, "registered_at": "2013-01-01T00:00:00+00:00"}).encode())
    store = TopicSchemaStore(config, topic)
    with caplog.at_level(logging.WARNING, "stoker.schemas"):
        store.register(contract_of(first), Compatibility.BACKWARD)
    assert [version.schema for version in store.versions("job")] == [contract_of(first).schema]
    assert [vars(record)["record"] for record in caplog.records] == [f"{topic}/0/1", f"{topic}/0/2"]


def test_the_record_is_the_documented_one(config: Config, topic: str) -> None:
    """A record's key is `job type:fingerprint`, and its value the documented JSON, so that others can read them."""
    TopicSchemaStore(config, topic).register(contract_of(first), Compatibility.BACKWARD)
    consumer = Consumer({**config, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    (message,) = consumer.consume(1, 30)
    consumer.close()
    assert message.key() == f"job:{contract_of(first).fingerprint.hex()}".encode()
    value = json.loads(message.value() or b"")
    assert value.pop("registered_at").endswith("+00:00")
    assert value == {
        "job_type": "job",
        "fingerprint": contract_of(first).fingerprint.hex(),
        "schema": contract_of(first).schema,
    }


def test_a_missing_topic_says_what_makes_it(config: Config, namespace: str) -> None:
    """Without the topic, nothing is created: the error names the command that does."""
    store = TopicSchemaStore(config, f"{namespace}.schemas")
    with pytest.raises(SchemaTopicMissing, match="stoker topology apply"):
        store.register(contract_of(first), Compatibility.BACKWARD)
    with pytest.raises(SchemaTopicMissing):
        store.refresh(30)


def test_an_unreachable_broker_is_reported_within_the_time() -> None:
    """When nothing answers, refresh ends at its timeout, and no setting of the client is in the message."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        secret = "hush-hush"
        store = TopicSchemaStore(
            {
                "bootstrap.servers": f"127.0.0.1:{closed.getsockname()[1]}",
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "stoker",
                "sasl.password": secret,
            },
            "n.schemas",
        )
        started = time.monotonic()
        with pytest.raises(SchemaStoreUnreachable) as unreachable:
            store.refresh(1)
    assert time.monotonic() - started < 30
    assert secret not in f"{unreachable.value} {store!r}"
