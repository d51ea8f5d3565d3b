"""What a job and its worker make of the inbox: who the job is in it, and what its outcome is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers import AlreadyDone, Discard, JobContext, Retry, Snooze, current_job
from stoker.consumers.inbox import EnteredTwice, Inbox
from stoker.consumers.job.run import Run
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE, Dead, Retried
from stoker.consumers.sources.source import MAIN, Tier
from stoker.consumers.steps.results import Raised
from stoker.consumers.steps.steps import decide
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.queue import LedgerWindow
from stoker.topology.declaration.retries import RetryPolicy
from support.programs import isolated_jobs
from support.scenes import isolated_runners as isolating
from support.scenes.deliveries import TIERS, declare
from support.scenes.inboxes import make_sqlite
from support.scenes.worker import Journal, create, declare_queue, running_worker


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with an inbox and a table of effects."""
    make_sqlite(tmp_path / "db")
    return tmp_path / "db"


@contextmanager
def effect(file: Path, job: JobContext) -> Iterator[Inbox]:
    """What the jobs of these tests do: a row, inside of the inbox."""
    with closing(sqlite3.connect(file)) as connection, job.inbox(connection) as inbox:
        connection.execute("INSERT INTO effects VALUES (?)", (job.job_id,))
        yield inbox


def rows(file: Path, table: str = "effects") -> list[str]:
    """The jobs that have a row."""
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute(f"SELECT job FROM {table} ORDER BY job")]


# ---- who a job is


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, "job-1"),
        ({"stoker-attempt": b"3"}, "job-1"),
        ({"stoker-idempotency-key": b"order-5"}, "order-5"),
        ({"stoker-replay": b"r1"}, "r1:job-1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("tier", [None, TIERS[0]])
def test_a_job_is_the_same_in_every_attempt_and_on_every_topic(
    file: Path, headers: dict[str, bytes], name: str, tier: timedelta | None
) -> None:
    """By its idempotency key, or else its id, within its queue; a replay is another, since it runs again on purpose."""
    delivery = declare()
    topic = delivery.queue.topic if tier is None else delivery.queue.retry_topics[tier]
    record = delivery.record(headers, assignment=Assignment(1, topic, 0, source=MAIN if tier is None else Tier(tier)))
    with effect(file, JobContext(Run("job-1", "work", "q", 1, 5, record))):
        pass
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT queue, job FROM stoker_inbox").fetchall() == [("unit.q", name)]


def test_a_run_remembers_the_inboxes_that_it_has_left(file: Path) -> None:
    """So a second block without an effect is refused in the run in which it was written, not lost in a later one."""
    job = JobContext(declare().job().run)
    with effect(file, job):
        pass
    with pytest.raises(EnteredTwice), effect(file, job):
        pytest.fail("it ran")
    with pytest.raises(AlreadyDone), effect(file, JobContext(declare().job().run)):
        pytest.fail("it ran")


# ---- what its outcome is


def test_a_job_that_is_done_already_is_done(file: Path) -> None:
    """It costs no attempt, whatever the policy says of errors; an effect that nobody has caught is a failure."""
    delivery = declare(retry=RetryPolicy(attempts=1, permanent=(Exception,)))
    assert decide(delivery.job(), Raised(AlreadyDone("job-1")), delivery.step_context) is DONE
    outcome = decide(delivery.job(), Raised(AlreadyDone("job-1", "ship")), delivery.step_context)
    assert isinstance(outcome, Dead)
    assert "catch AlreadyDone around the effect" in outcome.failure.message


@pytest.mark.parametrize("error", [Retry("later"), Discard("pointless"), KeyboardInterrupt()], ids=repr)
def test_whatever_a_job_raises_inside_undoes_its_writes(file: Path, error: BaseException) -> None:
    """A retry starts from nothing, and a discarded job leaves nothing."""
    delivery = declare()
    with pytest.raises(type(error)), effect(file, JobContext(delivery.job().run)):
        raise error
    assert rows(file) == rows(file, "stoker_inbox") == []
    if isinstance(error, Retry):
        assert isinstance(decide(delivery.job(), Raised(error), delivery.step_context), Retried)


def test_an_effect_happens_once_also_where_the_ledger_has_forgotten_the_job(
    cluster: ClusterSettings, namespace: str, file: Path
) -> None:
    """The repetition is delivered, its body does not run, and its outcome is done."""
    pipeline, queue = declare_queue(namespace, partitions=1, ledger=LedgerWindow(jobs=4))
    begun, ran = Journal(), Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        begun.note(number)
        with effect(file, current_job()) as inbox:
            ran.note(number)
            inbox.keep(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        for last, numbers in ((1, (1,)), (19, range(2, 20)), (20, (1,))):
            for number in numbers:
                producer.enqueue(act.with_options(job_id=f"job-{number}"), number)
            running.wait_outcomes(Done=last)
        assert "Retried" not in running.outcomes()
    assert begun.times()[1] == 2
    assert ran.times()[1] == 1
    assert len(rows(file)) == 19


def test_a_job_that_snoozes_after_its_block_gets_the_first_result_when_it_wakes(
    cluster: ClusterSettings, namespace: str, file: Path
) -> None:
    """What was committed stays so; a job that goes on after it catches the answer."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    told = Journal()

    @pipeline.job(queue)
    def act(number: int) -> Snooze | None:
        try:
            with effect(file, current_job()) as inbox:
                inbox.keep({"number": number})
            return Snooze(timedelta(milliseconds=300))
        except AlreadyDone as done:
            told.note(done.result)
            return None

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster) as running:
        producer.enqueue(act.with_options(job_id="job-1"), 7)
        running.wait_outcomes(Snoozed=1, Done=1)
    assert told.noted == [{"number": 7}]
    assert rows(file) == ["job-1"]


@pytest.mark.parametrize("place", ["written", "committed"])
def test_a_child_that_is_killed_around_its_commit_leaves_one_effect(file: Path, place: str) -> None:
    """The inbox works in child processes: the run that follows the death makes it one effect, or finds it."""
    pipeline, queue, (book,) = isolating.declare(isolated_jobs.book)
    with isolating.isolated(pipeline, queue) as here:
        assert here.run(book, str(file), place) is DONE
    assert isolated_jobs.notes(file.with_name("db.died")) == ["died"]
    assert rows(file) == rows(file, "stoker_inbox") == ["job-0"]
