"""Children due to be recycled are replaced without a dip in what can run at once, and all end with their worker."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from stoker.consumers import WorkerSettings
from stoker.consumers.errors import WorkerInChild
from stoker.consumers.isolation import child_flag
from stoker.consumers.isolation.handlers import addresses_of
from stoker.consumers.isolation.isolated_runners import make_setup
from stoker.consumers.isolation.pool import ChildPool
from stoker.consumers.records.outcomes import DONE, Retried
from stoker.consumers.worker import Worker
from stoker.topology import InvalidDeclaration, Pipeline
from support.programs import isolated_jobs
from support.scenes.isolated_runners import DEADLINE_S, Isolated, declare, is_gone, isolated
from support.waiting import wait_until

MIB = 1024 * 1024
pytestmark = pytest.mark.timeout(300)  # each child imports the application, on a machine that may do much else
PARENT = """
import sys
from support.scenes.isolated_runners import declare, isolated
from support.programs import isolated_jobs

pipeline, queue, (stay,) = declare(isolated_jobs.hold_the_interpreter)
with isolated(pipeline, queue) as here:
    here.run(stay, sys.argv[1], 120)
"""


def pids(file: Path) -> list[str]:
    """Who ran the jobs that were noted."""
    return [line.split()[-1] for line in isolated_jobs.notes(file)]


def most_at_once(here: Isolated, file: Path, marker: Path, size: int) -> int:
    """How many jobs run side by side that end only when the marker is there."""
    begun = len(isolated_jobs.notes(file))
    wait = here.step_context.job_types["wait_for"]
    jobs = [here.offer(wait, str(file), str(marker)) for _ in range(size)]
    wait_until(lambda: len(isolated_jobs.notes(file)) == begun + size, 60, f"{size} jobs at once")
    marker.touch()
    here.wait(*jobs)
    marker.unlink()
    return size


def test_a_child_is_replaced_after_its_number_of_jobs(tmp_path: Path) -> None:
    """All jobs are done, by several children, and as many can run at once as before."""
    pipeline, queue, (add, _) = declare(isolated_jobs.add, isolated_jobs.wait_for)
    file = tmp_path / "notes"
    with isolated(pipeline, queue, isolated_concurrency=2, recycle_after_jobs=5) as here:
        here.wait_idle(3)
        jobs = [here.offer(add, str(file), number, 0) for number in range(40)]
        assert here.wait(*jobs) == [DONE] * 40
        assert most_at_once(here, tmp_path / "waiting", tmp_path / "marker", 2) == 2
        here.wait_idle(3)
    assert len(set(pids(file))) >= 3


def test_recycling_under_load_costs_no_capacity(tmp_path: Path) -> None:
    """At each moment as many children can take a job as may run at once, worn ones serving until others are ready."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    file = tmp_path / "notes"
    with isolated(pipeline, queue, isolated_concurrency=2, recycle_after_jobs=3) as here:
        here.wait_idle(3)
        seen: list[int] = []
        jobs: list[str] = []

        def were_recycled() -> bool:
            jobs.extend(here.offer(add, str(file), len(jobs), 0) for _ in range(4))
            here.wait(*jobs[-4:])
            counts = here.runners.counts()
            assert counts is not None
            seen.append(counts.busy + counts.idle)
            return counts.ended >= 4

        wait_until(were_recycled, 240, "four children to be replaced")
        assert set(here.outcomes.values()) == {DONE}
    assert min(seen) >= 2
    assert len(set(pids(file))) >= 4


def test_a_child_that_keeps_memory_is_replaced(tmp_path: Path) -> None:
    """When it holds more than it may after a job; the job itself is done."""
    pipeline, queue, (leak,) = declare(isolated_jobs.leak)
    file = tmp_path / "notes"
    with isolated(pipeline, queue, recycle_above_bytes=200 * MIB) as here:
        here.wait_idle(2)
        assert here.run(leak, str(file), 300 * MIB) is DONE
        assert here.run(leak, str(file), MIB) is DONE
        here.wait_idle(2)
    first, second = pids(file)
    assert first != second


def test_an_idle_child_that_dies_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It had no job, so nobody is blamed."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    with isolated(pipeline, queue) as here, caplog.at_level(logging.WARNING):
        first, second = here.wait_idle(2)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: first not in here.runners.process_ids(), 60, "its removal")
        assert second in here.wait_idle(2)
        assert here.run(add, str(tmp_path / "notes"), 1, 2) is DONE
    assert "ended without a job (killed by SIGKILL)" in caplog.text
    assert here.assignment.crash_history.crashes == {}


def test_a_suspect_runs_in_a_child_that_has_never_run_a_job(tmp_path: Path) -> None:
    """What another job has left behind in a child can kill it, and must not be held against this one."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        for number in range(4):
            here.assignment.crash_history.crashes[number] = 1
            assert here.run(add, str(file), number, 0) is DONE
    assert Counter(pids(file)).most_common(1)[0][1] == 1


def test_a_fresh_child_is_started_also_where_used_ones_are_as_many_as_there_shall_be(tmp_path: Path) -> None:
    """Else who waits for a fresh one would wait for ever: nobody sends the used ones away, as they are not too many."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    with isolated(pipeline, queue) as here:
        pool, file = here.runners._pool, tmp_path / "notes"
        assert here.run(add, str(file), 0, 0) is DONE
        here.wait_idle(2)
        with pool._changed:  # the pool's thread waits for this, and finds one more used than it expects
            for child in pool._children:
                child.jobs = 1
            here.assignment.crash_history.crashes[1] = 1
            pool._spares, pool._fresh_wanted = 0, 1
            wanted = pool._missing()
            pool._spares, pool._fresh_wanted = 1, 0
        assert wanted == 1
        assert here.run(add, str(file), 1, 0) is DONE
    assert len(set(pids(file))) == 2


def test_a_child_in_c_code_ends_with_its_worker(tmp_path: Path) -> None:
    """The kernel tells it, since nothing of Python's can run in it."""
    command = (sys.executable, "-c", PARENT, str(tmp_path / "notes"))
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(Path(isolated_jobs.__file__).parents[2])}
    ) as parent:
        try:
            wait_until(lambda: isolated_jobs.notes(tmp_path / "notes"), DEADLINE_S, "the job's begin")
            children = psutil.Process(parent.pid).children(recursive=True)
        finally:
            parent.kill()
    assert int(isolated_jobs.notes(tmp_path / "notes")[0]) in {child.pid for child in children}
    wait_until(lambda: all(is_gone(child.pid) for child in children), 60, "the end of all children")


@pytest.mark.expected_errors("cannot start")
def test_children_that_cannot_start_are_tried_ever_more_rarely() -> None:
    """Each failure is reported with its cause; the pause doubles, and nothing is lost meanwhile."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    with isolated(pipeline, queue) as here:
        addresses = addresses_of(pipeline.job_types)
        missing = {"add": replace(addresses["add"], qualname="gone")}
        pool = ChildPool(make_setup(here.step_context, missing), size=1)
        pool.start()
        try:
            wait_until(lambda: pool.counts().trouble, 60, "trouble")
            trouble = pool.counts().trouble
            assert trouble is not None
            assert "has no attribute 'gone'" in trouble
            assert pool.counts().idle == 0
            assert pool._start_pause_s >= 0.5
        finally:
            pool.stop()
    assert add.name == "add"


def test_a_handler_that_no_other_process_can_find_is_refused() -> None:
    """At its declaration where its name tells, else when a worker is made, always with the way out."""

    def within(number: int) -> None:
        """Hidden in a function."""

    pipeline = Pipeline("unit")
    queue = pipeline.queue("q")
    with pytest.raises(InvalidDeclaration, match="move it to the top of module"):
        pipeline.job(queue, isolation="process")(within)
    with pytest.raises(InvalidDeclaration, match="lambda has no name"):
        pipeline.job(queue, name="anonymous", isolation="process")(lambda: None)
    with pytest.raises(InvalidDeclaration, match="declare isolation='process' as well"):
        pipeline.job(queue, memory_limit_bytes=MIB)(isolated_jobs.add)
    with pytest.raises(InvalidDeclaration, match="at least"):
        pipeline.job(queue, isolation="process", memory_limit_bytes=MIB)(isolated_jobs.add)
    with pytest.raises(InvalidDeclaration, match="crash_limit must be at least 1; it is 0"):
        pipeline.queue("r", crash_limit=0)
    renamed = pipeline.job(queue, isolation="process")(_imposter)
    with pytest.raises(InvalidDeclaration, match="is not the handler but something else"):
        addresses_of({"renamed": renamed})


def _imposter(number: int) -> None:
    """Has the name of another function."""


_imposter.__module__, _imposter.__qualname__ = isolated_jobs.__name__, "fail"


def test_no_worker_is_made_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that makes one as it is imported would have children of children without end."""
    monkeypatch.setattr(child_flag, "is_child", True)
    with pytest.raises(WorkerInChild, match="__main__"):
        Worker(Pipeline("unit"))


def test_jobs_of_a_type_that_is_not_isolated_run_in_children_as_well(tmp_path: Path) -> None:
    """Suspects do; one whose handler cannot be found there is distinguished."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("q", partitions=1)
    add = pipeline.job(queue)(isolated_jobs.add)

    def within(number: int) -> None:
        """Hidden in a function."""

    pipeline.job(queue)(within)
    with isolated(pipeline, queue) as here:
        assert here.runners.counts() is None
        assert here.run(add, str(tmp_path / "notes"), 1, 2) is DONE
        assert ("add" in here.runners.addresses, "within" in here.runners.addresses) == (True, False)
    assert pids(tmp_path / "notes") != [str(os.getpid())]


def test_arguments_that_cannot_be_sent_are_the_jobs_failure() -> None:
    """With the error that says why."""
    pipeline, queue, (take,) = declare(isolated_jobs.take)
    with isolated(pipeline, queue) as here:
        outcome = here.run(take, isolated_jobs.Unsendable(text="x"))
    assert isinstance(outcome, Retried)
    assert outcome.failure.message == "cannot be pickled"


def test_the_settings_of_isolation_are_checked() -> None:
    """Each with its name and value."""
    with pytest.raises(ValueError, match="isolated_concurrency must be at least 1; it is 0") as refused:
        WorkerSettings(isolated_concurrency=0, recycle_after_jobs=0, recycle_above_bytes=-1)
    assert "recycle_after_jobs" in str(refused.value)
    assert "recycle_above_bytes" in str(refused.value)


@pytest.mark.expected_errors("cannot start")
def test_a_child_that_cannot_be_started_for_want_of_anything_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No memory, files or disk for a moment: the job waits, the worker lives, and a child is started when one can."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    lacks = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EAGAIN, "Try again")]
    make_file = tempfile.TemporaryFile

    def make_file_or_fail() -> object:
        if lacks:
            raise lacks.pop()
        return make_file()

    monkeypatch.setattr(tempfile, "TemporaryFile", make_file_or_fail)
    with isolated(pipeline, queue) as here:
        assert here.run(add, str(tmp_path / "notes"), 1, 2) is DONE
    assert "No space left on device" in caplog.text


@pytest.mark.expected_errors("cannot start")
def test_jobs_do_not_count_as_waiting_while_only_a_further_child_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The spare one dies, and nothing is left for another: the one that there is runs all jobs."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)

    def fail() -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    with isolated(pipeline, queue) as here:
        here.wait_idle(2)
        pool = here.runners._pool
        monkeypatch.setattr(tempfile, "TemporaryFile", fail)
        os.kill(pool.process_ids()[0], signal.SIGKILL)
        wait_until(lambda: pool.counts().trouble, DEADLINE_S, "trouble")
        assert "isolated jobs go on in the others" in caplog.text
        assert "jobs wait" not in caplog.text + pool.counts().trouble_in_words
        assert here.run(add, str(tmp_path / "notes"), 1, 2) is DONE
