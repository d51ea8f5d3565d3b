"""Instruments are called at each seam of a real worker; one that raises is switched off, and jobs go on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from stoker.consumers import Instrument
from stoker.consumers.instruments.instruments import Instruments
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Queue
from support.scenes.instruments import SEAMS, CountingInstrument, FaultyInstrument
from support.scenes.worker import Journal, committed, create, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

JOBS = 40


def run_jobs(
    cluster: ClusterSettings,
    namespace: str,
    *instruments: Instrument,
    kind: str = "sync",
    is_over: Callable[[], bool] = lambda: True,
) -> Queue:
    """Run `JOBS` jobs under these instruments to the last commit and until `is_over`, and stop the worker."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()
    if kind == "sync":

        @pipeline.job(queue, name="act", key=lambda number: f"k{number % 7}")
        def act(number: int) -> None:
            journal.note(number)

    else:

        @pipeline.job(queue, name="act", key=lambda number: f"k{number % 7}")
        async def act(number: int) -> None:
            journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(JOBS))
    with running_worker(pipeline, cluster, concurrency=4, instruments=instruments):
        journal.wait(JOBS)
        wait_all_committed(cluster, queue)
        wait_until(is_over, 60, "the end as the instrument sees it")
    assert journal.times() == dict.fromkeys(range(JOBS), 1)
    return queue


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_instrument_sees_each_job_once_at_each_seam(cluster: ClusterSettings, namespace: str, kind: str) -> None:
    """Taken, begun, decided and settled once each; the commits that it sees are those of the group, to the end."""
    counts = CountingInstrument()
    queue = run_jobs(cluster, namespace, counts, kind=kind, is_over=lambda: sum(counts.offsets.values()) == JOBS)
    once = dict.fromkeys(counts.takings, 1)
    assert len(once) == JOBS
    assert counts.takings == once
    assert counts.beginnings == once
    assert {(job.job_type, job.queue, job.attempt) for job in counts.jobs} == {("act", queue.name, 1)}
    assert counts.decisions == counts.settlements == {(place, "Done"): 1 for place in once}
    own = {partition: offset for (topic, partition), offset in counts.offsets.items() if topic == queue.topic}
    assert own == committed(cluster, queue)
    assert sum(own.values()) == JOBS


@pytest.mark.expected_errors("is switched off")
@pytest.mark.parametrize("seam", SEAMS)
def test_an_instrument_that_raises_is_switched_off(
    cluster: ClusterSettings,
    namespace: str,
    seam: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One message with its name; all jobs run, and an instrument behind it sees them all."""
    faulty, counts = FaultyInstrument(seam), CountingInstrument()
    run_jobs(cluster, namespace, faulty, counts)
    messages = [record.getMessage() for record in caplog.records if record.name == "stoker.instruments"]
    assert len(messages) == 1
    assert "FaultyInstrument raised ValueError and is switched off" in messages[0]
    assert "restart the worker" in messages[0]
    assert faulty.raised >= 1
    assert len(counts.takings) == len(counts.beginnings) == len(counts.settlements) == JOBS


@pytest.mark.expected_errors("is switched off")
def test_an_instrument_that_raises_in_several_threads_at_once_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each thread is inside of it when it raises; later calls do not reach it."""
    inside = threading.Barrier(4)

    class Late(CountingInstrument):
        """Raises once all are inside."""

        calls = 0

        def taken(self, records: object) -> None:
            """Wait for the others."""
            self.calls += 1
            inside.wait(60)
            raise ValueError

    late = Late()
    row = Instruments([late])
    threads = [threading.Thread(target=row.taken, args=([],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row.taken([])
    assert late.calls == 4
    assert not row
    assert len(caplog.records) == 1


def test_without_instruments_nothing_is_called(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is falsy then, and no seam goes beyond that check."""
    calls: list[str] = []
    for seam in SEAMS:
        monkeypatch.setattr(Instruments, seam, lambda *_, seam=seam: calls.append(seam))
    run_jobs(cluster, namespace)
    assert not Instruments()
    assert calls == []
