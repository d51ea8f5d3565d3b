"""On a real broker: a control topic that was compacted, is away, or has what a worker cannot read among its cancels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from stoker.consumers.control import control_thread
from stoker.consumers.control.order_feed import OrderFeed
from stoker.operations.cli.exit_codes import ExitCode
from stoker.operations.cluster_view import ConsumerGroup
from stoker.operations.control import worker_list
from stoker.operations.doctor.control_checks import check_workers
from stoker.producers import Producer
from stoker.producers.control import Control
from stoker.producers.control.standing import read_workers
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.wire.orders import cancel_key
from support.kafka.compaction import busy_cleaner, set_topic_configs
from support.scenes.shop_application import open_shop
from support.scenes.worker import (
    Journal,
    Raw,
    create,
    declare_queue,
    delete_topics,
    publish_raw,
    read_topic,
    running_worker,
)
from support.waiting import wait_until

WAIT = timedelta(seconds=60)
NEWER = b"\xc3\x01" + b"\x01" * 8 + b"what a newer schema has"
"""Framed as Avro has it, with the fingerprint of a schema that is not known here."""
NOBODY = ConsumerGroup(name="", state="empty", protocol="consumer", members=())
COMPACTED_SOON = {"segment.ms": "100", "min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.01"}


def declare(namespace: str, journal: Journal) -> Pipeline:
    """Two job types on one queue."""
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def mail(name: str) -> None:
        journal.note(name)

    @pipeline.job(queue)
    def call(name: str) -> None:
        journal.note(name)

    return pipeline


def enqueue(pipeline: Pipeline, cluster: ClusterSettings, job_type: str, *job_ids: str) -> None:
    """Jobs that note their ids."""
    with Producer(pipeline, cluster) as producer:
        job = pipeline.job_types[job_type]
        producer.enqueue_many(job.with_options(job_id=job_id).call(job_id) for job_id in job_ids)


class Absence:
    """Keeps the workers of this process from the control topic, as where its thread is frozen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._may_read = threading.Event()
        self._may_read.set()
        read = OrderFeed.read

        def read_if_there(feed: OrderFeed, timeout_s: float) -> bool:
            assert self._may_read.wait(60)
            return read(feed, timeout_s)

        monkeypatch.setattr(OrderFeed, "read", read_if_there)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """They are away."""
        self._may_read.clear()
        try:
            yield
        finally:
            self._may_read.set()


def compact(cluster: ClusterSettings, topic: str, control: Control) -> None:
    """Wait until the log has one record of each key, but for the segment that is written."""
    admin = AdminClient(cluster.client_config())

    def keys() -> list[bytes]:
        return [bytes(message.key() or b"") for message in read_topic(cluster, topic, 1)]

    known = set(keys())

    def is_compacted() -> bool:
        control.pause(queue="work", key="opens a segment")  # at each look: a young segment takes one more record
        found = [key for key in keys() if key in known]
        return len(found) == len(set(found))

    with busy_cleaner(admin):
        wait_until(is_compacted, 60, "the log to be compacted")
    assert set(keys()) >= known


def test_orders_that_were_compacted_while_a_worker_was_away_do_not_mislead_it(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancels and a pause stand, others were lifted unseen; a worker that starts later knows the same."""
    journal, away = Journal(), Absence(monkeypatch)
    pipeline = declare(namespace, journal)
    create(pipeline, cluster)
    set_topic_configs(AdminClient(cluster.client_config()), pipeline.control_topic, COMPACTED_SOON)
    with Control(pipeline, cluster) as control:
        with running_worker(pipeline, cluster) as running:
            running.wait_partitions(1)
            control.cancel("lifted", "kept")
            assert control.pause(job_type="call").wait(WAIT).is_taken_by_all
            with away():
                for turn in range(3):
                    control.cancel("late", "kept", reason=f"turn {turn}")
                    control.pause(job_type="mail", reason=f"turn {turn}")
                    control.resume(job_type="call")
                control.uncancel("lifted")
                control.resume(job_type="mail")
                control.pause(job_type="call", reason="still")
                compact(cluster, pipeline.control_topic, control)
                receipt = control.resume(queue="work", key="opens a segment")
            assert receipt.wait(WAIT).is_taken_by_all
            assert [pause.job_type for pause in running.worker.pauses()] == ["call"]
            enqueue(pipeline, cluster, "call", "paused")
            enqueue(pipeline, cluster, "mail", "lifted", "kept")
            running.wait_outcomes(Done=1, Cancelled=1)
        with running_worker(pipeline, cluster) as running:
            enqueue(pipeline, cluster, "mail", "late", "last")
            running.wait_outcomes(Done=1, Cancelled=1)
            assert [pause.job_type for pause in running.worker.pauses()] == ["call"]
    assert journal.noted == ["lifted", "last"]


def test_what_a_newer_schema_has_among_cancels_is_passed_over_and_answered(
    cluster: ClusterSettings, namespace: str
) -> None:
    """The cancels before and behind it hold, the job that it names runs, and its sender sees who cannot read it."""
    journal = Journal()
    pipeline = declare(namespace, journal)
    create(pipeline, cluster)
    with Control(pipeline, cluster) as control, running_worker(pipeline, cluster) as running:
        running.wait_partitions(1)
        control.cancel("before")
        publish_raw(cluster, pipeline.control_topic, [Raw(value=NEWER, headers=[], key=cancel_key("strange"))])
        receipt = control.cancel("behind")
        assert receipt.wait(WAIT).is_taken_by_all
        enqueue(pipeline, cluster, "mail", "before", "strange", "behind")
        running.wait_outcomes(Cancelled=2, Done=1)
        assert journal.noted == ["strange"]
        statuses = read_workers(pipeline, cluster)
        (seen,) = statuses.statuses
        assert (seen.status.not_understood, len(seen.status.not_understood_ids)) == (1, 1)
        offset = int(seen.status.not_understood_ids[0].removeprefix("@"))
        (answer,) = statuses.answers("newer", offset, seen.last_seen_at_s).answers
        assert (answer.is_taken, answer.is_understood) == (True, False)
        groups = {pipeline.queues["work"].group: NOBODY}
        (finding,) = check_workers(pipeline, groups, statuses.statuses, seen.last_seen_at_s)
        assert finding.observed == f"worker {answer.worker} does not understand 1 order that stands"


def test_a_worker_without_its_control_topic_says_how_old_its_orders_are(
    cluster: ClusterSettings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with those that it knows; people see it, the doctor has the remedy, and then it takes new ones."""
    monkeypatch.setattr(control_thread, "STATUS_INTERVAL_S", 0.3)
    monkeypatch.setattr(worker_list, "STALE_S", 0.0)
    shop = open_shop(tmp_path, monkeypatch, namespace, cluster)
    with running_worker(shop.pipeline, cluster, worker_id="w1") as running:
        running.wait_partitions(2)
        with Control(shop.pipeline, cluster) as control:
            assert control.pause(job_type="send_mail").wait(WAIT).is_taken_by_all
        delete_topics(cluster, shop.pipeline.control_topic)
        wait_until(lambda: " old " in shop.stoker("workers").output, 60, "the age of its orders")
        assert {pause.job_type for pause in running.worker.pauses()} == {"send_mail"}
        doctor = shop.stoker("doctor", "--problems")
        assert doctor.exit_code == ExitCode.FINDING
        assert f"{namespace}.control: missing" in doctor.output
        assert shop.stoker("topology", "apply").exit_code == 0
        wait_until(lambda: not running.worker.pauses(), 60, "the pause to be gone with the topic")
        with Control(shop.pipeline, cluster) as control:
            assert control.pause(queue="bills").wait(WAIT).is_taken_by_all
