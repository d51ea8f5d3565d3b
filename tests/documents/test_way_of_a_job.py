"""The page on the architecture names the files that a job passes, from the polled record to the committed offset."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from simulation.commands import Enqueue
from simulation.play import Play
from simulation.virtual_time import CLOCK, virtual_time
from simulation.world import TIERS, Ending, Shape
from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.records.record import Record
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.delays import DelayClass
from support.scenes.worker import create, declare_queue, running_worker, wait_all_committed

ROOT = Path(__file__).parents[2]
MOST_STOPS = 5
JOBS = 64
DELAY_S = 3.0


def section(title: str) -> str:
    """A section of the page."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def has_record(values: Iterable[object]) -> bool:
    """Whether a record or a handful of them is among these, or is the first one in a list among these."""
    firsts = (value[0] if isinstance(value, list | tuple) and value else value for value in values)
    return any(isinstance(first, Record | DoneHandful) for first in firsts)


class FilesPassed:
    """The files of the layer whose functions are given a record, in the order in which they are first entered."""

    def __init__(self) -> None:
        self.paths: dict[str, None] = {}
        self._room = str(ROOT / "consumers")

    def note(self, frame: FrameType, event: str, _value: object) -> None:
        """Called by the interpreter for each call."""
        if event == "call" and frame.f_code.co_filename.startswith(self._room) and has_record(frame.f_locals.values()):
            self.paths[str(Path(frame.f_code.co_filename).relative_to(self._room))] = None


@contextmanager
def files_passed(where: ModuleType = sys) -> Iterator[dict[str, None]]:
    """The files that are passed in this thread; where that is `threading`, in the threads that begin meanwhile."""
    passed = FilesPassed()
    before = where.getprofile()
    where.setprofile(passed.note)
    try:
        yield passed.paths
    finally:
        where.setprofile(before)


@pytest.mark.parametrize("ending", ["done", "fail", "permanent"])
def test_the_page_names_each_file_that_a_job_passes_to_the_committed_offset_and_at_most_five_as_stops(
    ending: Ending,
) -> None:
    """A reader follows a job through as many files as he can keep in mind, and no other comes as a surprise."""
    way = section("The way of one job")
    stops = re.findall(r"^\d\. \*\*`([\w/]+\.py)`\*\*", way, re.MULTILINE)
    with virtual_time():
        play = Play(Shape())
        process = play.alive[0]
        play.turn(process)
        play.carry_out(Enqueue([0], ""))
        with files_passed() as passed:
            process.fetch(1)
            play.world.start(process, 0)
            play.world.end(process, 0, ending)
            play.world.settle(process, [], lambda: None)
            process.completion.note_settled()
            process.commit()
            process.answer_commit("done")
        assert play.world.brokers.committed[play.world.queue.topic, 0][0] == 1
        play.finish()
    assert len(stops) <= MOST_STOPS
    assert [path for path in passed if path in stops] == stops
    named = set(re.findall(r"`([\w/]+\.py)", way))
    assert not [path for path in passed if path not in named]


def test_each_of_the_five_names_the_next() -> None:
    """Who reads one of them in an editor finds the way on without the page."""
    stops = re.findall(r"^\d\. \*\*`([\w/]+\.py)`\*\*", section("The way of one job"), re.MULTILINE)
    heads = [(ROOT / "consumers" / stop).read_text(encoding="utf-8").split('"""')[1] for stop in stops]
    said = [
        re.findall(r"of the five files on the way of a job[^;.]*\.md\)(?:; `([\w/.]+)` is the next)?", head)
        for head in heads
    ]
    assert said == [[following] for following in [*stops[1:], ""]]


def test_the_page_names_each_file_that_a_job_passes_in_a_real_worker(cluster: ClusterSettings, namespace: str) -> None:
    """It has what the simulation stands in for: its threads, and the events of jobs that are done."""
    pipeline, mails = declare_queue(namespace, partitions=1)

    @pipeline.job(mails)
    def send(number: int) -> None:
        """Do nothing, so that a runner has a handful done at a time."""

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(send.call(number) for number in range(JOBS))
    with files_passed(threading) as passed, running_worker(pipeline, cluster, concurrency=1) as running:
        running.wait_outcomes(Done=JOBS)
        wait_all_committed(cluster, mails)
    named = set(re.findall(r"`([\w/]+\.py)", section("The way of one job")))
    assert {"declared/runners.py", "settling/done_jobs.py", "records/ended_columns.py"} <= set(passed)
    assert not [path for path in passed if path not in named]


def test_the_page_names_each_file_that_a_retry_passes_on_its_way_back() -> None:
    """The second half of a failed job's way begins in its tier, and ends in a lane again."""
    with virtual_time():
        play = Play(Shape())
        process = play.alive[0]
        play.turn(process)
        play.carry_out(Enqueue([0], ""))
        play.turn(process)
        play.world.start(process, 0)
        play.world.end(process, 0, "fail")
        play.world.settle(process, [], lambda: None)
        with files_passed() as passed:
            process.fetch_delayed(1)
            CLOCK.advance(2 * TIERS[0].total_seconds())
            process.take_due()
        assert play.world.queue.retry_topics[TIERS[0]] in {record.assignment.topic for record in process.startable}
        play.finish()
    named = set(re.findall(r"`([\w/]+\.py)", section("The way of one job")))
    assert "intake/handover.py" in passed
    assert {"poll_thread/side_readers.py", "delays/calendar.py"} <= named  # no record is made there yet
    assert not [path for path in passed if path not in named]


def test_the_page_names_each_file_that_a_delayed_job_passes() -> None:
    """Its first record passes the five and goes on as another one, which comes back from a delay topic."""
    with virtual_time():
        play = Play(Shape())
        process = play.alive[0]
        play.turn(process)
        play.world.enqueue(0, due_in_s=DELAY_S)
        with files_passed() as passed:
            process.fetch(1)
            play.world.start(process, 0)
            play.world.settle(process, [], lambda: None)
            process.completion.note_settled()
            process.commit()
            process.answer_commit("done")
            process.fetch_delayed(1)
            CLOCK.advance(2 * DELAY_S)
            process.take_due()
        topics = {record.assignment.topic for record in process.startable}
        assert topics == {play.world.queue.delay_topics[DelayClass.SHORT]}
        play.finish()
    way = section("The way of one job")
    stops = re.findall(r"^\d\. \*\*`([\w/]+\.py)`\*\*", way, re.MULTILINE)
    assert [path for path in passed if path in stops] == stops
    assert not set(passed) - set(re.findall(r"`([\w/]+\.py)", way))


def test_the_page_names_what_a_feature_of_intake_may_be_where_it_is() -> None:
    """Whoever adds one finds each protocol in the file that the page gives, and an example of it beside."""
    part = section("Adding a part").split("\n### A feature of intake\n", 1)[1].split("\n### ", 1)[0]
    rows = re.findall(r"^  \| [^|]+ \| [^|]+ `(\w+)` \(`(\w+/\w+\.py)`\) \| ([^|]+) \|$", part, re.MULTILINE)
    assert len(rows) == part.count("\n  | ") - 1  # the head of the table
    folder = ROOT / "consumers/intake"
    declared = (ROOT / "consumers/declared/intake_features.py").read_text(encoding="utf-8")
    for name, path, examples in rows:
        assert re.search(
            rf"^(class {name}\(Protocol\)|{name} = )", (ROOT / "consumers" / path).read_text(), re.MULTILINE
        )
        for example in re.findall(r"`([\w.]+)`", examples):
            if example.endswith(".py"):
                assert (folder / example).is_file()
                assert f"from ..intake.{example.removesuffix('.py')} import" in declared
            else:
                assert example.split(".")[0] in declared
