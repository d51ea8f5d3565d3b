"""`stoker queues` and the doctor tell why a queue stands still, by the word of its workers, while that holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.consumers.inspection import blockers as workers_side
from stoker.consumers.runners import watchdog
from stoker.operations.cluster_view import ClusterView, ConsumerGroup, Member
from stoker.operations.commands.queues import blocker_data
from stoker.operations.doctor.facts import gather
from stoker.operations.doctor.findings import Verdict
from stoker.operations.doctor.queue_checks import check_queue
from stoker.operations.queue_status import blocker_reports
from stoker.operations.queue_status.blocker_reports import (
    BELIEVED_FOR,
    BlockerReport,
    BlockerReports,
    read_blockers,
    report_of,
)
from stoker.operations.queue_status.offset_reading import read_offsets
from stoker.operations.queue_status.queues import QueueStatus, inspect_queues
from stoker.operations.stored_jobs.errors import ReadStalled
from stoker.producers import Producer
from stoker.schemas import encode_own
from stoker.topology import ClusterSettings, Pipeline, Queue, RetryPolicy
from stoker.topology.cluster.settings import ClusterUnreachable, NotAuthorized
from stoker.topology.declaration.topics import EVENTS_PARTITIONS
from support.scenes.watched_runners import resist
from support.scenes.worker import create, delete_topics, running_worker
from support.waiting import wait_until

NOW = datetime(2013, 1, 1, 12, 0, tzinfo=UTC)
STUCK = BlockerReport(
    queue="q",
    partition=("n.q", 0),
    offset=7,
    job_id="j1",
    job_type="act",
    state="stuck",
    worker="w1",
    at=NOW,
    since=NOW - timedelta(seconds=44),
    timeout=timedelta(seconds=5),
)
GROUP = ConsumerGroup(
    name="n.q", state="stable", protocol="consumer", members=(Member(client_id="w1", host="h", partitions=1),)
)


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take jobs for old, and for stuck, within a second."""
    monkeypatch.setattr(workers_side, "OLD_AFTER_S", 0.5)
    monkeypatch.setattr(workers_side, "REPEAT_S", 1.0)
    monkeypatch.setattr(watchdog, "STUCK_AFTER_S", 0.2)


class Scene:
    """A pipeline whose three queues stand still, each for a reason of its own."""

    def __init__(self, namespace: str) -> None:
        self.let_go = threading.Event()
        self.pipeline = Pipeline(namespace)
        tiers = (timedelta(minutes=1),)
        strict = self.pipeline.queue("strict", partitions=1, tiers=tiers, ordering="strict")
        stuck = self.pipeline.queue("stuck", partitions=1, tiers=tiers)
        long = self.pipeline.queue("long", partitions=1, tiers=tiers)

        @self.pipeline.job(strict, retry=RetryPolicy(attempts=2))
        def fails(number: int) -> None:
            raise ConnectionError(number)

        @self.pipeline.job(stuck, timeout=timedelta(milliseconds=100))
        def goes_on(number: int) -> None:
            resist(self.let_go)

        @self.pipeline.job(long, timeout=timedelta(minutes=5))
        def takes_long(number: int) -> None:
            assert self.let_go.wait(60)

        self.jobs = [fails, goes_on, takes_long]

    @property
    def queues(self) -> list[Queue]:
        """All of them."""
        return list(self.pipeline.queues.values())

    @contextmanager
    def standing(self, cluster: ClusterSettings) -> Iterator[ClusterView]:
        """Two jobs of one key in each queue, and a worker."""
        create(self.pipeline, cluster)
        with Producer(self.pipeline, cluster) as producer, running_worker(self.pipeline, cluster):
            for job in self.jobs:
                producer.enqueue(job.with_options(key="k"), 1)
                producer.enqueue(job.with_options(key="k"), 2)
            try:
                yield ClusterView(cluster, timeout_s=60.0)
            finally:
                self.let_go.set()

    def statuses(self, view: ClusterView) -> dict[str, QueueStatus]:
        """{queue: its status}, with a pace of two readings at the same moment."""
        before = read_offsets(view, self.queues)
        reading = replace(read_offsets(view, self.queues), committed=before.committed)
        return {found.name: found for found in inspect_queues(view, self.queues, reading, before)}


@pytest.mark.expected_errors("is stuck")
@pytest.mark.usefixtures("_in_a_hurry")
def test_a_stuck_job_a_long_one_and_a_strict_key_are_distinguished(cluster: ClusterSettings, namespace: str) -> None:
    """The three looked the same, and the doctor found nothing broken: each is reported with its job, and why."""
    scene = Scene(namespace)
    with scene.standing(cluster) as view:
        wait_until(lambda: _states(scene, view) == EXPECTED, 60, "all three to be reported")
        told = {name: " ".join(status.obstacles) for name, status in scene.statuses(view).items()}
        broken = {
            queue.name: [f.observed for f in check_queue(facts, queue, scene.pipeline) if f.verdict is Verdict.BROKEN]
            for facts in [gather(view, scene.pipeline)]
            for queue in scene.queues
        }
    assert "is stuck" in told["stuck"]
    assert "a long job, and no stuck one" in told["long"]
    assert "for the retry of job" in told["strict"]
    assert "of its key, due in" in told["strict"]
    assert [len(said) for said in broken.values()] == [0, 1, 0]
    assert "is stuck" in broken["stuck"][0]


EXPECTED = {"strict": ["awaiting-retry"], "stuck": ["stuck"], "long": ["running"]}


def _states(scene: Scene, view: ClusterView) -> dict[str, list[str]]:
    return {name: [report.state for report in status.blockers] for name, status in scene.statuses(view).items()}


@pytest.mark.usefixtures("_in_a_hurry")
def test_reports_end_with_their_reason(cluster: ClusterSettings, namespace: str) -> None:
    """A job that is done holds up nothing, however young its last report is."""
    scene = Scene(namespace)
    scene.jobs = scene.jobs[2:]
    with scene.standing(cluster) as view:
        wait_until(lambda: _states(scene, view)["long"] == ["running"], 60, "the long job to be reported")
        scene.let_go.set()
        wait_until(lambda: scene.statuses(view)["long"].waiting == 0, 60, "it to be done")
        assert _states(scene, view)["long"] == []


def test_events_that_cannot_be_read_are_reported_instead(cluster: ClusterSettings, namespace: str) -> None:
    """The table is shown all the same; the queue that stands still says what is missing."""
    scene = Scene(namespace)
    scene.jobs = scene.jobs[2:]
    with scene.standing(cluster) as view:
        wait_until(lambda: scene.statuses(view)["long"].group.members, 60, "a worker")
        wait_until(lambda: scene.statuses(view)["long"].group.state == "stable", 60, "its partitions")
        topic = scene.pipeline.events_topic
        delete_topics(cluster, topic)
        (said,) = scene.statuses(view)["long"].obstacles
        meanwhile = read_blockers(view, scene.queues, {topic: EVENTS_PARTITIONS}, datetime.now(UTC))
        findings = check_queue(gather(view, scene.pipeline), scene.queues[2], scene.pipeline)
        (unknown,) = [finding for finding in findings if finding.verdict is Verdict.UNKNOWN]
    assert "no progress" in said
    assert f"{topic} is missing" in said
    assert topic in meanwhile.fault
    assert f"{topic} is missing" in unknown.observed


@pytest.mark.parametrize(
    "refusal",
    [
        KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)),
        NotAuthorized("User:ada", [("Read", "topic n.events")]),
        ClusterUnreachable("a:9092", "no answer in 5 s"),
        ReadStalled("n.events", [0], 2.0),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
def test_a_refusal_to_read_reports_is_reported_and_fails_nothing(
    refusal: Exception, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators without Read on the events see all else, and which right they lack."""

    def refuse(*_: object) -> list[BlockerReport]:
        raise refusal

    monkeypatch.setattr(blocker_reports, "_read", refuse)
    queue = Pipeline("n").queue("q", partitions=1)
    found = read_blockers(ClusterView(cluster), [queue], {"n.events": 4}, NOW)
    assert found.reports == ()
    assert found.fault == f"what workers report could not be read from n.events: {refusal}"


@pytest.mark.parametrize(
    ("report", "group", "committed", "is_believed"),
    [
        (STUCK, GROUP, 7, True),
        (STUCK, GROUP, 3, True),  # a later job than the one that the group waits for may be stuck
        (STUCK, GROUP, 8, False),  # the job has ended
        (STUCK, replace(GROUP, members=()), 7, False),  # the worker has gone
        (replace(STUCK, worker="w0"), GROUP, 7, False),  # another has come
        (replace(STUCK, queue="r"), GROUP, 7, False),
        (replace(STUCK, partition=("n.q", 1)), GROUP, 7, False),  # of which nothing is known
    ],
)
def test_a_report_is_believed_while_its_worker_and_its_job_are_there(
    report: BlockerReport, group: ConsumerGroup, committed: int, *, is_believed: bool
) -> None:
    """Reports are of the past: what is shown must still be so."""
    queue = Pipeline("n").queue("q", partitions=1)
    found = BlockerReports(reports=(report,)).believed(queue, group, [(("n.q", 0), committed)])
    assert found == ([report] if is_believed else [])


def test_stuck_jobs_come_first_then_the_oldest() -> None:
    """Where there are many, the first few are shown."""
    queue = Pipeline("n").queue("q", partitions=1)
    older = replace(STUCK, state="running", offset=8, since=NOW - timedelta(hours=1))
    younger = replace(STUCK, state="behind", offset=9, since=NOW)
    found = BlockerReports(reports=(younger, older, STUCK)).believed(queue, GROUP, [(("n.q", 0), 0)])
    assert found == [STUCK, older, younger]


def test_an_old_report_is_not_believed(cluster: ClusterSettings, namespace: str) -> None:
    """The worker would have repeated it."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("q", partitions=1)
    create(pipeline, cluster)
    for age in (BELIEVED_FOR, timedelta(seconds=1)):
        publish(cluster, pipeline, event(queue, datetime.now(UTC) - age, offset=int(age.total_seconds())))
    view = ClusterView(cluster, timeout_s=60.0)

    def read() -> BlockerReports | None:
        """The look ends within seconds, whatever the broker does meanwhile, and then it has a fault."""
        found = read_blockers(view, [queue], {pipeline.events_topic: EVENTS_PARTITIONS}, datetime.now(UTC))
        return None if found.fault else found

    found = wait_until(read, what="a look that the broker answers in time")
    assert found is not None
    (report,) = found.reports
    assert report.offset == 1


def test_foreign_events_are_passed_over() -> None:
    """Other kinds, other versions, and what is no event."""
    queue = Pipeline("n").queue("q", partitions=1)
    blocking = event(queue, NOW, offset=1)
    assert report_of(encode_own("JobEvent", blocking)) is not None
    for value in (None, b"", b"x" * 40, encode_own("JobEvent", {**blocking, "event": "dead"})):
        assert report_of(value) is None
    assert report_of(encode_own("JobEvent", {**blocking, "detail": {}})) is None
    assert report_of(encode_own("JobEvent", {**blocking, "detail": {"since": "lately"}})) is None


STATES = ("stuck", "running", "awaiting-retry", "awaiting-schema", "behind", "crashed", "unsettled", "ready")


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_sentence_of_its_own(state: str) -> None:
    """It names the job, or where it stands, and the length of time or the log to look at."""
    others = {s: replace(STUCK, state=s).sentence(NOW) for s in ("stuck", "running", "behind", "ready") if s != state}
    said = replace(STUCK, state=state).sentence(NOW)
    assert said not in others.values()
    assert "job j1 (act, n.q/0/7)" in said
    assert "n.q/0/7" in replace(STUCK, state=state, job_id="").sentence(NOW)


def test_a_gate_that_is_not_known_by_name_is_reported_in_its_own_words() -> None:
    """Its word, and what ends the wait; where the event does not hold that, the worker whose log may have it."""
    queue = Pipeline("n").queue("q", partitions=1)
    blocking = event(queue, NOW, offset=1)
    detail = {"since": (NOW - timedelta(seconds=44)).isoformat(), "ends_by": "ann resumes the queue"}
    report = report_of(encode_own("JobEvent", {**blocking, "reason": "paused", "detail": detail}))
    assert isinstance(report, BlockerReport)
    assert report.sentence(NOW).endswith(" has waited for 44s: paused, until ann resumes the queue")
    assert "w1" in replace(STUCK, state="paused").sentence(NOW)


def test_json_has_what_ends_the_wait_and_when() -> None:
    """A program can show both without the sentence."""
    crashed = replace(STUCK, state="crashed", ends_by="its pause of 2 s ends", due=NOW + timedelta(seconds=2))
    assert "waits to be run again in 2s, since its process died" in crashed.sentence(NOW)
    data = blocker_data(crashed)
    assert (data["state"], data["ends_by"], data["due"]) == ("crashed", crashed.ends_by, crashed.due)
    assert blocker_data(STUCK)["ends_by"] is None


def event(queue: Queue, at: datetime, *, offset: int) -> dict[str, object]:
    """As a worker writes it."""
    return {
        "event": "blocking",
        **dict.fromkeys(("job_id", "job_type", "worker", "error_type"), "x"),
        "queue": queue.name,
        "topic": queue.topic,
        "partition": 0,
        "offset": offset,
        "attempt": 1,
        "at": at,
        "reason": "running",
        "detail": {"since": at.isoformat(), "timeout_s": "300", "due": at.isoformat()},
    }


def publish(cluster: ClusterSettings, pipeline: Pipeline, found: dict[str, object]) -> None:
    """Put an event on its topic."""
    from confluent_kafka import Producer as Client

    client = Client(cluster.client_config())
    client.produce(pipeline.events_topic, encode_own("JobEvent", found), timestamp=int(time.time() * 1_000))
    assert client.flush(30) == 0
