"""The admission of one producer: calls that wait, are refused, or go on because nothing is known."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from confluent_kafka import TopicPartition

from stoker.producers.admission.admission import Admission, bounded
from stoker.producers.admission.depth import Depth, unfinished
from stoker.producers.errors import ProducerClosed, QueueFull
from stoker.topology import ClusterUnreachable, InvalidDeclaration, JobCall, Pipeline
from stoker.topology.wire.commit_metadata import CommitMetadata, SpilledAt

SOON_S = 20.0
PLACE = "stoker.producers.admission.admission"


class Reading:
    """Depths as a test sets them; `ask` may raise or wait."""

    def __init__(self, waiting: int = 0) -> None:
        self.waiting = waiting
        self.ask: Callable[[], None] = lambda: None
        self.closed = threading.Event()
        self.count = 0

    def read(self) -> Depth:
        """See DepthReader."""
        self.count += 1
        self.ask()
        return Depth(waiting=self.waiting, age=timedelta(seconds=90))

    def close(self) -> None:
        """See DepthReader."""
        self.closed.set()


def declare(when_full: str) -> JobCall:
    """A call to a queue of which three may wait."""
    pipeline = Pipeline("unit")
    queue = pipeline.queue("mails", max_waiting=3, when_full=when_full)  # type: ignore[arg-type]  # as text

    @pipeline.job(queue)
    def send() -> None: ...

    return send.call()


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that comes late because the machine is busy counts as one that comes."""
    monkeypatch.setattr(f"{PLACE}.UNREAD_S", SOON_S)


@pytest.fixture
def reading() -> Reading:
    """A queue in which nothing waits."""
    return Reading()


@pytest.fixture
def admissions(reading: Reading) -> Iterator[Callable[[JobCall, float], Admission]]:
    """Makes admissions that are closed at the end."""
    made: list[Admission] = []

    def make(call: JobCall, full_wait_s: float = SOON_S) -> Admission:
        made.append(Admission([call.job_type.queue], lambda _queue: reading, lambda: 0, full_wait_s))
        return made[-1]

    yield make
    for admission in made:
        admission.close()


Make = Callable[..., Admission]


def test_a_full_queue_refuses_with_its_figures(admissions: Make, reading: Reading) -> None:
    """The error has depth, bound and age, and its words name the way out."""
    reading.waiting = 4
    with pytest.raises(
        QueueFull, match=r"queue 'mails' is full: 4 jobs wait, the oldest for 90\.0 s, and max_waiting is 3"
    ):
        admissions(call := declare("refuse")).admit(call)
    with pytest.raises(QueueFull) as refused:
        admissions(call).admit(call)
    error = refused.value
    assert (error.queue, error.depth, error.max_waiting, error.age) == ("mails", 4, 3, timedelta(seconds=90))
    assert (error.is_temporary, error.maybe_published, error.waited) == (True, False, timedelta(0))
    assert error.measured_ago <= timedelta(seconds=1)


def test_room_is_noticed_within_a_second(admissions: Make, reading: Reading) -> None:
    """A queue that was full admits jobs again soon after the others have ended."""
    call = declare("refuse")
    admission = admissions(call)
    reading.waiting = 3
    with pytest.raises(QueueFull):
        admission.admit(call)
    reading.waiting = 0
    give_up_at_s = time.monotonic() + SOON_S
    while True:
        try:
            admission.admit(call)
        except QueueFull:
            assert time.monotonic() < give_up_at_s
            time.sleep(0.01)
        else:
            return


def test_a_call_waits_for_room(admissions: Make, reading: Reading) -> None:
    """With when_full="wait" the call returns when there is room."""
    call = declare("wait")
    admission = admissions(call)
    reading.waiting = 3
    waiting = threading.Thread(target=admission.admit, args=[call], daemon=True)
    waiting.start()
    wait_until(lambda: reading.count >= 2)
    assert waiting.is_alive()
    reading.waiting = 2
    waiting.join(SOON_S)
    assert not waiting.is_alive()


def test_a_call_waits_for_room_no_longer_than_the_settings_have_it(admissions: Make, reading: Reading) -> None:
    """The error says how long it waited."""
    reading.waiting = 3
    with pytest.raises(QueueFull, match="is still full after") as refused:
        admissions(call := declare("wait"), 0.3).admit(call)
    assert refused.value.waited >= timedelta(seconds=0.3)


def test_close_interrupts_a_call_that_waits(admissions: Make, reading: Reading) -> None:
    """It raises `ProducerClosed`, long before its wait is over; the reader is disconnected."""
    call, ended = declare("wait"), []
    admission = admissions(call, 600.0)
    reading.waiting = 3

    def wait() -> None:
        try:
            admission.admit(call)
        except ProducerClosed as closed:
            ended.append(closed)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    wait_until(lambda: reading.count >= 2)
    admission.close()
    waiting.join(SOON_S)
    assert len(ended) == 1
    assert reading.closed.wait(SOON_S)
    with pytest.raises(ProducerClosed):
        admission.admit(call)


def test_jobs_are_admitted_while_the_brokers_do_not_answer(
    admissions: Make, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says so, and one that the bound holds again."""
    caplog.set_level(logging.INFO, "stoker.producers")
    reading.waiting = 3
    reading.ask = fail
    call = declare("refuse")
    admission = admissions(call)
    for _ in range(10):
        admission.admit(call)
    reading.ask = lambda: None
    wait_until(lambda: "max_waiting holds" in caplog.text)
    with pytest.raises(QueueFull):
        admission.admit(call)
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "all are admitted until it is" in line]) == 1


@pytest.mark.expected_errors("the producer failed as it counted the waiting jobs")
def test_a_fault_in_a_reading_ends_neither_the_thread_nor_the_bound(
    admissions: Make, reading: Reading, caplog: pytest.LogCaptureFixture
) -> None:
    """Else each later call would wait for a reading in vain, and be admitted, whatever waits."""
    caplog.set_level(logging.INFO, "stoker.producers")
    reading.waiting = 3
    reading.ask = lambda: 1 / 0  # type: ignore[assignment]
    call = declare("refuse")
    admission = admissions(call)
    admission.admit(call)
    wait_until(lambda: "is not known (ZeroDivisionError" in caplog.text)
    reading.ask = lambda: None
    admission.admit(call)
    wait_until(lambda: "max_waiting holds" in caplog.text)
    with pytest.raises(QueueFull):
        admission.admit(call)


def test_jobs_are_admitted_where_an_answer_takes_too_long(
    admissions: Make, reading: Reading, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one waits, for a second in earnest; the others do not wait."""
    monkeypatch.setattr(f"{PLACE}.UNREAD_S", 0.1)
    answer = threading.Event()
    reading.ask = lambda: (answer.wait(SOON_S), None)[1]
    call = declare("refuse")
    admission = admissions(call)
    try:
        for _ in range(10):
            admission.admit(call)
    finally:
        answer.set()
    assert caplog.text.count("all are admitted until it is") == 1


def test_the_thread_that_reads_confirmations_never_waits(admissions: Make, reading: Reading) -> None:
    """It admits what it does not know of, and refuses where the queue is full."""
    call = declare("wait")
    admission = admissions(call)
    reading.waiting = 3
    admission.admit(call, may_wait=False)

    def is_refused() -> bool:
        try:
            admission.admit(call, may_wait=False)
        except QueueFull:
            return True
        return False

    wait_until(is_refused)


def test_a_queue_without_a_bound_costs_nothing(admissions: Make, reading: Reading) -> None:
    """Neither a thread nor a question; and a producer none of whose queues has one has no admission at all."""
    admission = admissions(declare("refuse"))
    other = Pipeline("other")

    @other.job(other.queue("free"))
    def send() -> None: ...

    assert admission.waiting_call(send.call()) is None
    assert reading.count == 0
    assert bounded(other.queues.values()) == []


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        ({"max_waiting": 0}, "max_waiting must be at least 1; it is 0"),
        ({"when_full": "wait"}, "when_full='wait' needs max_waiting"),
        ({"max_waiting": 5, "when_full": "drop"}, "when_full must be one of refuse, wait; it is 'drop'"),
    ],
)
def test_a_bound_that_cannot_be_is_refused(shape: dict[str, object], fault: str) -> None:
    """The declaration says what is wrong, and the way out."""
    with pytest.raises(InvalidDeclaration, match=fault):
        Pipeline("unit").queue("mails", **shape)  # type: ignore[arg-type]  # wrong on purpose


def place(offset: int, state: CommitMetadata | None) -> TopicPartition:
    """A commit."""
    return TopicPartition("unit.mails", 0, offset, state.encode() or "" if state else "")


RUNS = CommitMetadata(committed_offset=10, position=100, incomplete=((10, 11), (50, 52)))


@pytest.mark.parametrize(
    ("commit", "left"),
    [
        (None, 115),
        (place(10, None), 110),
        (place(10, RUNS), 3 + 20),
        (place(10, RUNS.referring(SpilledAt(1, 0), 40)), 40 + 20),
        (place(10, RUNS.referring(SpilledAt(1, 0))), 20),
        (place(11, RUNS), 109),
    ],
)
def test_unfinished_jobs_are_counted_exactly_where_a_worker_has_committed(
    commit: TopicPartition | None, left: int
) -> None:
    """120 is the end, and 5 the oldest record. Jobs that are done beyond the committed offset do not count."""
    assert unfinished(commit, 5, 120) == left


def fail() -> None:
    """No broker answers."""
    raise ClusterUnreachable("unit:9092", "no answer")


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait, with a deadline."""
    give_up_at_s = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < give_up_at_s
        time.sleep(0.005)


def test_a_reader_that_goes_on_failing_is_replaced(
    admissions: Make, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients may never find the brokers again; the bound would hold no more for as long as the program lives."""
    monkeypatch.setattr("stoker.producers.admission.renewed_reader.RENEW_AFTER_S", 0.0)

    def fail() -> None:
        raise ClusterUnreachable("localhost:9092", "no broker is known")

    reading.ask = fail
    admission = admissions(call := declare("refuse"))
    admission.admit(call)
    assert reading.closed.wait(SOON_S)


def test_a_child_that_is_forked_while_a_call_is_admitted_ends(admissions: Make) -> None:
    """The thread that holds the lock at that moment is not in the child, which would wait for it at its exit."""
    admission = admissions(call := declare("refuse"))
    admission.admit(call)
    with admission._read:
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # a hang must not outlive the test
            closing = threading.Thread(target=admission.close)  # not the thread that has the lock
            closing.start()
            closing.join()
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
