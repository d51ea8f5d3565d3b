"""Who only reads needs the right to read, and none on a group."""

from __future__ import annotations

from confluent_kafka import Producer

from stoker.operations.queue_status.queue_heads import read_heads
from stoker.operations.stored_jobs.topic_reader import TopicReader
from stoker.schemas import Compatibility
from stoker.schemas.stores.topic_store import TopicSchemaStore
from stoker.topology.planning.apply import ensure_topology
from support.kafka.guarded_broker import Acl, Guarded
from support.scenes.declarations import shop


def test_readers_need_no_right_on_any_group(guarded: Guarded, namespace: str) -> None:
    """Reading records, heads and schemas takes Read on the topic alone: no group is joined, so none need be granted."""
    pipeline = shop(namespace)
    queue, job_type = pipeline.queues["mails"], pipeline.job_types["send_receipt"]
    ensure_topology(pipeline, guarded.administrator)
    producer = Producer(guarded.administrator.client_config())
    producer.produce(queue.topic, b"a job", partition=0)
    producer.flush(30)
    reader = guarded.user("ada")
    acls = [Acl("Read", "topic", queue.topic), Acl("Read", "topic", pipeline.schemas_topic)]
    with guarded.granted("User:ada", acls):
        with TopicReader(reader, queue.topic, stall_s=30) as topic_reader:
            records = list(topic_reader.read(topic_reader.spans()))
        assert [record.value() for record in records] == [b"a job"]
        heads = read_heads(reader, {(queue.topic, 0): 0}, timeout_s=30)
        assert heads[queue.topic, 0] is not None
        store = TopicSchemaStore(reader.client_config(), pipeline.schemas_topic)
        store.register(job_type.contract, Compatibility.BACKWARD)  # it is there already, so nothing is written
        assert len(store.versions(job_type.name)) == 1
