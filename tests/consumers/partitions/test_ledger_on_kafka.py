"""On a real broker: a job that was completed inside the ledger's window is not run again, by no process."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from stoker.producers import Producer
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue
from support.scenes.worker import (
    Gate,
    Journal,
    Raw,
    committed,
    create,
    declare_queue,
    headers_of,
    publish_raw,
    read_topic,
    remembered,
    running_worker,
    wait_all_committed,
)


def declare_act(pipeline: Pipeline, queue: Queue, journal: Journal, gate: Gate | None = None) -> JobType[[int], None]:
    """A job that notes its number, at the gate if there is one."""

    @pipeline.job(queue)
    def act(number: int) -> None:
        if gate is not None:
            gate.wait()
        journal.note(number)

    return act


def test_repetitions_of_a_job_run_once_also_while_the_first_is_running(
    cluster: ClusterSettings, namespace: str
) -> None:
    """Five times the same id in flight at once, and once more afterwards: one run."""
    pipeline, queue = declare_queue(namespace)
    journal, gate = Journal(), Gate()
    act = declare_act(pipeline, queue, journal, gate)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        same = act.with_options(job_id="order-1")
        producer.enqueue_many(same.call(1) for _ in range(5))
        gate.open()
        running.wait_outcomes(Done=1, Skipped=4)
        producer.enqueue(same, 1)
        running.wait_outcomes(Skipped=5)
        wait_all_committed(cluster, queue)
    assert journal.noted == [1]


def test_equal_idempotency_keys_run_once(cluster: ClusterSettings, namespace: str) -> None:
    """Under different ids, with or without an ordering key of their own; another key runs."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        for number in range(3):
            producer.enqueue(act.with_options(idempotency_key="pay-1"), number)
            producer.enqueue(act.with_options(idempotency_key="pay-2", key="k"), 10 + number)
        producer.enqueue(act.with_options(idempotency_key="pay-3"), 20)
        running.wait_outcomes(Done=3, Skipped=4)
    assert sorted(journal.noted) == [0, 10, 20]


def test_a_restarted_worker_remembers_what_the_topic_tells(cluster: ClusterSettings, namespace: str) -> None:
    """Ids completed by one worker are skipped by the next, before the first job of the assignment runs."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    calls = [act.with_options(job_id=f"order-{number}").call(number) for number in range(300)]
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(calls)
        with running_worker(pipeline, cluster) as running:
            running.wait_outcomes(Done=300)
        producer.enqueue_many(calls)
        producer.enqueue(act.with_options(job_id="new"), 1_000)
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=1, Skipped=300)
    assert sorted(journal.noted) == [*range(300), 1_000]


def test_a_replay_runs_what_was_done_once_for_each_replay(cluster: ClusterSettings, namespace: str) -> None:
    """The replay's id goes into the name; the job's own name stays done."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act.with_options(job_id="order-1"), 1)
        (source,) = read_topic(cluster, queue.topic, 1)
        pairs = list(headers_of(source).items())
        again = [Raw(value=source.value(), headers=[*pairs, ("stoker-replay", name)]) for name in (b"r1", b"r2", b"r1")]
        publish_raw(cluster, queue.topic, again)
        producer.enqueue(act.with_options(job_id="order-1"), 1)
        running.wait_outcomes(Done=3, Skipped=2)
    assert journal.noted == [1, 1, 1]
    assert remembered(cluster, queue) == {"order-1", "r1:order-1", "r2:order-1"}


def test_a_job_that_failed_before_may_be_enqueued_again(cluster: ClusterSettings, namespace: str) -> None:
    """Only completion is remembered: a repetition of a job that waits for its retry runs."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)
        if len(journal.runs) == 1:
            raise ConnectionError

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        same = act.with_options(job_id="order-1")
        producer.enqueue(same, 1)
        running.wait_outcomes(Retried=1)
        producer.enqueue(same, 1)
        running.wait_outcomes(Done=1, Skipped=1)
    assert len(journal.runs) == 2


def test_a_partition_starts_no_job_before_its_ledger_is_restored(cluster: ClusterSettings, namespace: str) -> None:
    """Offsets of the group are lost, 2,000 entries stand in the ledger: not one job runs a second time."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()
    act = declare_act(pipeline, queue, journal)
    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(2_000))
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=2_000)
    assert committed(cluster, queue) == {0: 2_000}
    _forget_offsets(cluster, queue)
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Skipped=2_000)
        assert "Done" not in running.outcomes()
    assert len(journal.runs) == 2_000


def _forget_offsets(cluster: ClusterSettings, queue: Queue) -> None:
    admin = AdminClient(cluster.client_config())
    for future in admin.delete_consumer_groups([queue.group]).values():
        future.result(30)
