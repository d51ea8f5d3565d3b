"""The page on the architecture names the files that a job passes, from the polled record to the committed offset."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from simulation.commands import Enqueue
from simulation.oracles.limiting import PER_S
from simulation.play import Play
from simulation.virtual_time import CLOCK, virtual_time
from simulation.world import TIERS, Ending, Shape
from stoker.consumers.records.done_handful import DoneHandful
from stoker.consumers.records.outcomes import Retried
from stoker.consumers.records.record import Record
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.delays import DelayClass
from support.programs import isolated_jobs
from support.scenes.isolated_runners import declare, isolated
from support.scenes.worker import create, declare_queue, running_worker, wait_all_committed

ROOT = Path(__file__).parents[2]
LAYER, TESTS = str(ROOT / "consumers"), str(ROOT / "tests")
STAND_INS = {Path(__file__).name, "processes.py", "clients.py", "children.py"}
"""The files of tests that call the worker as its threads and Kafka's clients do."""
DONE, FAILED, BACK = "A job that is done", "A job that fails", "A record that comes back"
HELD_BACK, LET_GO = "A job that a gate holds back", "A job that a gate lets go"
ISOLATED = "Isolated jobs"
LENGTHS = {DONE: "five", FAILED: "eight", BACK: "five", HELD_BACK: "five", LET_GO: "five", ISOLATED: "eight"}
COUNTS = {"five": 5, "eight": 8, "Fourteen": 14}
CARRYING = "Fourteen"
ANSWERS = "job/answers.py"
JOBS = 64
DELAY_S = 3.0


def section(title: str) -> str:
    """A section of the page."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def subsection(title: str) -> str:
    """The part of the page that has this heading: it is in the section on the way of a job, or a section."""
    if title == ISOLATED:
        return section(title)
    return section("The way of one job").split(f"\n### {title}\n", 1)[1].split("\n### ", 1)[0]


def stops(title: str) -> list[str]:
    """The files of the numbered list under this heading, in their order."""
    return re.findall(r"^\d\. \*\*`([\w/]+\.py)`\*\*", subsection(title), re.MULTILINE)


def named() -> set[str]:
    """All files that the lists and tables of the section name."""
    lists = section("The way of one job").split("\n### A turn of the poll thread\n", 1)[0]
    return set(re.findall(r"`([\w/]+\.py)", lists))


def carriers() -> list[str]:
    """The files that carry the record of a job that is done: those of the table's second column."""
    table = subsection("What else runs").split("These files carry the record", 1)[1].split("\n\nThese ", 1)[0]
    cells = [row.split(" | ")[1] for row in table.splitlines() if re.match(r"\| (in )?\d", row)]
    return [path for cell in cells for path in re.findall(r"`([\w/]+\.py)`", cell)]


def is_of_worker(frame: FrameType) -> bool:
    """Whether a call is the worker's: not one by which the simulation checks it."""
    caller = frame.f_back
    while caller is not None and not caller.f_code.co_filename.startswith(TESTS):
        caller = caller.f_back
    return caller is None or Path(caller.f_code.co_filename).name in STAND_INS


def has_record(frame: FrameType) -> bool:
    """Whether a call is given a record or a handful of them, or a list whose first one is."""
    values = frame.f_locals.values()
    firsts = (value[0] if isinstance(value, list | tuple) and value else value for value in values)
    return any(isinstance(first, Record | DoneHandful) for first in firsts)


class FilesPassed:
    """The files of the layer in which functions are called, in the order in which they are first entered."""

    def __init__(self, counts: Callable[[FrameType], bool]) -> None:
        self.paths: dict[str, None] = {}
        self._counts = counts

    def note(self, frame: FrameType, event: str, _value: object) -> None:
        """Called by the interpreter for each call."""
        if event == "call" and frame.f_code.co_filename.startswith(LAYER) and self._counts(frame):
            self.paths[str(Path(frame.f_code.co_filename).relative_to(LAYER))] = None


@contextmanager
def files_passed() -> Iterator[dict[str, None]]:
    """The files in which this thread calls anything for the worker."""
    passed = FilesPassed(is_of_worker)
    before = sys.getprofile()
    sys.setprofile(passed.note)
    try:
        yield passed.paths
    finally:
        sys.setprofile(before)


@contextmanager
def files_of_isolated_run() -> Iterator[dict[str, None]]:
    """The files in which the threads call anything that wait for children, and begin meanwhile."""
    passed = FilesPassed(lambda _frame: "isolated" in threading.current_thread().name)
    before = threading.getprofile()
    threading.setprofile(passed.note)
    try:
        yield passed.paths
    finally:
        threading.setprofile(before)


@contextmanager
def files_given_records() -> Iterator[dict[str, None]]:
    """The files whose functions are given a record, in the threads that begin meanwhile."""
    passed = FilesPassed(has_record)
    before = threading.getprofile()
    threading.setprofile(passed.note)
    try:
        yield passed.paths
    finally:
        threading.setprofile(before)


@pytest.mark.parametrize(
    ("ending", "way"), [("done", DONE), ("discard", DONE), ("fail", FAILED), ("permanent", FAILED)]
)
def test_the_page_names_each_file_that_runs_between_the_poll_and_the_commit_of_a_job(ending: Ending, way: str) -> None:
    """The files of its list are passed in this order; no other file of the layer comes as a surprise."""
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
    assert [path for path in passed if path in stops(way)] == stops(way)
    assert set(passed) - named() == set()


@pytest.mark.parametrize("title", LENGTHS)
def test_a_list_is_as_long_as_the_page_says(title: str) -> None:
    """A reader follows a job through as many files as he can keep in mind."""
    assert len(stops(title)) == COUNTS[LENGTHS[title]]
    assert f" {LENGTHS[title]} files" in subsection(title)


def test_the_page_counts_the_files_that_carry_the_record_of_a_done_job() -> None:
    """Beside the five; which these are, a real worker shows below."""
    assert len(carriers()) == COUNTS[CARRYING]
    assert f"{CARRYING} others carry its record" in subsection(DONE)
    assert set(carriers()) & set(stops(DONE)) == set()


def test_the_page_names_methods_that_there_are() -> None:
    """A method that was renamed, or moved to another class, shows here."""
    methods = dict[str, set[str]]()
    for path in Path(LAYER).rglob("*.py"):
        for made in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(made, ast.ClassDef):
                parts = {part.name for part in made.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
                methods[made.name] = methods.get(made.name, set()) | parts
    said = re.findall(r"`([A-Z]\w+)\.(\w+)`", section("The way of one job"))
    assert [f"{owner}.{name}" for owner, name in said if name not in methods.get(owner, set())] == []


def test_each_of_the_five_names_the_next() -> None:
    """Who reads one of them in an editor finds the way on without the page."""
    heads = [Path(LAYER, stop).read_text(encoding="utf-8").split('"""')[1] for stop in stops(DONE)]
    said = [
        re.findall(r"of the five files on the way of a job[^;.]*\.md\)(?:; `([\w/.]+)` is the next)?", head)
        for head in heads
    ]
    assert said == [[following] for following in [*stops(DONE)[1:], ""]]


def test_a_real_worker_gives_the_record_of_a_done_job_to_the_files_that_the_page_names_and_to_no_other(
    cluster: ClusterSettings, namespace: str
) -> None:
    """It has what the simulation stands in for: its threads, and the events of jobs that are done."""
    pipeline, mails = declare_queue(namespace, partitions=1)

    @pipeline.job(mails)
    def send(number: int) -> None:
        """Do nothing, so that a runner has a handful done at a time."""

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(send.call(number) for number in range(JOBS))
    with files_given_records() as passed, running_worker(pipeline, cluster, concurrency=1) as running:
        running.wait_outcomes(Done=JOBS)
        wait_all_committed(cluster, mails)
    assert set(passed) == {*stops(DONE), *carriers()}


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
    assert [path for path in passed if path in stops(BACK)] == stops(BACK)
    assert set(passed) - named() == set()


def test_the_page_names_each_file_that_a_delayed_job_passes() -> None:
    """Its first record passes the five and goes on as another one, which comes back from a delay topic."""
    with virtual_time():
        play = Play(Shape())
        process = play.alive[0]
        play.turn(process)
        play.world.enqueue(0, due_in_s=DELAY_S)
        with files_passed() as before:
            process.fetch(1)
            play.world.start(process, 0)
            play.world.settle(process, [], lambda: None)
            process.completion.note_settled()
            process.commit()
            process.answer_commit("done")
        with files_passed() as after:
            process.fetch_delayed(1)
            CLOCK.advance(2 * DELAY_S)
            process.take_due()
        topics = {record.assignment.topic for record in process.startable}
        assert topics == {play.world.queue.delay_topics[DelayClass.SHORT]}
        play.finish()
    assert [path for path in before if path in stops(FAILED)] == [path for path in stops(FAILED) if path != ANSWERS]
    assert [path for path in after if path in stops(BACK)] == stops(BACK)
    assert {*before, *after} - named() == set()


def test_the_page_names_each_file_that_a_job_passes_which_a_limit_holds_back() -> None:
    """A former owner may have used it up. At its last look the job waits; with room again, its handler is called."""
    with virtual_time():
        play = Play(Shape(is_limited=True))
        process = play.alive[0]
        play.turn(process)
        play.carry_out(Enqueue([0], ""))
        play.turn(process)
        with files_passed() as before:
            play.world.start(process, 0)
        assert (process.gates.view.count, process.running) == (1, [])
        with files_passed() as after:
            CLOCK.advance(2 * PER_S)
            process.take_due()
            play.world.start(process, 0)
        assert (process.gates.view.count, len(process.running)) == (0, 1)
        play.finish()
    assert [path for path in before if path in stops(HELD_BACK)] == stops(HELD_BACK)
    assert [path for path in after if path in stops(LET_GO)] == stops(LET_GO)
    assert {*before, *after} - named() == set()


def test_the_page_names_each_file_that_an_isolated_job_passes_to_its_handler_and_back(tmp_path: Path) -> None:
    """The thread that waits for the child enters the first ones. The handler notes its callers, and the way back."""
    pipeline, queue, (fail,) = declare(isolated_jobs.fail_with_files)
    file = tmp_path / "notes"
    with files_of_isolated_run() as before, isolated(pipeline, queue) as here:
        assert isinstance(here.run(fail, str(file)), Retried)
    noted = [path for path in isolated_jobs.notes(file) if path.startswith(LAYER)]
    after = dict.fromkeys(str(Path(path).relative_to(LAYER)) for path in noted)
    at = stops(ISOLATED).index("isolation/child_main.py")
    assert [path for path in before if path in stops(ISOLATED)[:at]] == stops(ISOLATED)[:at]
    assert [path for path in after if path in stops(ISOLATED)[at:]] == stops(ISOLATED)[at:]


def test_the_page_names_what_a_feature_of_intake_may_be_where_it_is() -> None:
    """Whoever adds one finds each base class in the file that the page gives, and an example of it beside."""
    part = section("Adding a part").split("\n### A feature of intake\n", 1)[1].split("\n### ", 1)[0]
    rows = re.findall(r"^  \| [^|]+ \| [^|]+ `(\w+)` \(`(\w+/\w+\.py)`\) \| ([^|]+) \|$", part, re.MULTILINE)
    assert len(rows) == part.count("\n  | ") - 1  # the head of the table
    folder = ROOT / "consumers/intake"
    declared = (ROOT / "consumers/declared/intake_features.py").read_text(encoding="utf-8")
    for name, path, examples in rows:
        assert re.search(rf"^(class {name}\b|{name} = )", (ROOT / "consumers" / path).read_text(), re.MULTILINE)
        for example in re.findall(r"`([\w.]+)`", examples):
            if example.endswith(".py"):
                assert (folder / example).is_file()
                assert f"from ..intake.{example.removesuffix('.py')} import" in declared
            else:
                assert example.split(".")[0] in declared
