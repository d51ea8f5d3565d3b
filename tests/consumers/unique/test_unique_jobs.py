"""Which of several jobs of one identity runs: each mode, each state of the earlier job, and what a restart knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
from confluent_kafka import Message

from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.outcomes import (
    DONE,
    INTERRUPTED,
    SKIPPED,
    Cancelled,
    Dead,
    Delayed,
    Failure,
    Outcome,
    Retried,
)
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import MAIN, Delay, Source, Tier
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.unique.arrival import utc_of
from stoker.consumers.unique.ends import end_in, end_record
from stoker.consumers.unique.holders import Holders
from stoker.consumers.unique.unique_jobs import UniqueJobs
from stoker.consumers.unique.waiting_holders import holder_of
from stoker.topology import Unique
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire import headers as wire
from stoker.topology.wire.headers import HeaderList, format_instant

SECOND = timedelta(seconds=1)
FAILURE = Failure(error_type="E", message="", stack="", fingerprint="0" * 16)
TIER = Tier(timedelta(minutes=1))


@dataclass
class Scene:
    """A partition with the jobs of one identity; time goes on by hand, in milliseconds."""

    rule: Unique
    now_ms: int = 1_000_000
    numbers: count[int] = field(default_factory=count)
    most_ended: int = 10
    cancels: Cancels = field(default_factory=Cancels)

    def __post_init__(self) -> None:
        """Begin without jobs."""
        self.main, self.tier = Assignment(1, "ns.q", 0, source=MAIN), Assignment(2, "ns.q.retry.1m", 0, source=TIER)
        self.jobs = self.restarted()

    def restarted(self) -> UniqueJobs:
        """What a new owner knows of nothing."""
        types = {"work": self.rule}
        self.holders = Holders(types, self.most_ended)
        return UniqueJobs(types, self.holders, lambda: self.now_ms / 1_000)

    def wait(self, ms: int) -> None:
        """Time passes."""
        self.now_ms += ms

    def comes(self, *headers: tuple[str, bytes], identity: bytes = b"work:a") -> Record:
        """A job comes now, and is read at once."""
        number = next(self.numbers)
        pairs: HeaderList = [
            (wire.JOB_ID, b"job-%d" % number), (wire.JOB_TYPE, b"work"), (wire.UNIQUE, identity), *headers
        ]  # fmt: skip
        record = self._record(self.main, number, pairs)
        self.jobs.note_arrival(record)
        return record

    def _record(self, assignment: Assignment, offset: int, pairs: HeaderList) -> Record:
        message = Message(
            topic=assignment.topic, partition=0, offset=offset, key=b"a", value=b"",
            headers=pairs, timestamp=(2, self.now_ms),  # type: ignore[arg-type]  # the stub's list is invariant
        )  # fmt: skip
        return Record(message, assignment)

    def as_waiting(self, record: Record, due_ms: int, *, attempt: int = 1, source: Source = TIER) -> Record:
        """The record as which a job waits in a tier, as the settler writes it."""
        added = [
            (wire.ATTEMPT, b"%d" % attempt), (wire.DUE, format_instant(utc_of(due_ms))),
            (wire.ORIGIN, record.origin), (wire.REASON, b"failed"),
        ]  # fmt: skip
        kept = wire.replace_headers(record.pairs, drop=wire.RETRY_HEADERS, add=added)
        assignment = Assignment(3, "ns.q.retry.1m", 0, source=source)
        return self._record(assignment, next(self.numbers), [*kept, *self.jobs.times_of(record)])

    def runs(self, record: Record, for_ms: int = 100, outcome: Outcome = DONE) -> None:
        """Its turn comes; it runs for so long."""
        assert self.jobs.admit(record, self.cancels) is None, f"{record} does not run"
        self.wait(for_ms)
        self.jobs.note(record, outcome)

    def loses(self, record: Record) -> str:
        """Its turn comes, and it is a duplicate; of which job."""
        outcome = self.jobs.admit(record)
        assert isinstance(outcome, Cancelled), f"{record} is no duplicate: {outcome}"
        assert outcome.reason == "duplicate"
        self.jobs.note(record, outcome)
        return outcome.winner

    def waits(self, record: Record) -> int:
        """Its turn comes, and it waits; until when."""
        outcome = self.jobs.admit(record)
        assert isinstance(outcome, Delayed), f"{record} does not wait: {outcome}"
        self.jobs.note(record, outcome)
        return round(outcome.due.timestamp() * 1_000)

    def fails(self, record: Record, due_in_ms: int = 60_000) -> Record:
        """It runs, fails, and waits for its retry; returns the record there."""
        due_ms = self.now_ms + due_in_ms
        retried = Retried(due=utc_of(due_ms), tier=timedelta(minutes=1), next_attempt=2, failure=FAILURE)
        self.runs(record, outcome=retried)
        return self.as_waiting(record, due_ms, attempt=2)


@pytest.fixture
def dropping() -> Scene:
    """A new job loses while one waits or runs."""
    return Scene(Unique())


@pytest.fixture
def replacing() -> Scene:
    """A new job takes the place of one that waits."""
    return Scene(Unique(on_conflict="replace"))


@pytest.fixture
def keeping_last() -> Scene:
    """The same, and while one runs it waits behind that."""
    return Scene(Unique(on_conflict="replace", while_=("waiting",)))


@pytest.fixture
def putting_off() -> Scene:
    """Each job puts the work off by 10 s, for 25 s at the most."""
    return Scene(Unique(on_conflict="put_off", wait=10 * SECOND, longest=25 * SECOND))


# ---- drop


def test_a_job_that_came_before_the_end_of_another_is_dropped_however_late_it_is_read(dropping: Scene) -> None:
    """By when it came, not by when its turn is: the other has ended long ago by then."""
    first = dropping.comes()
    dropping.wait(50)
    second = dropping.comes()
    dropping.runs(first, for_ms=100)
    dropping.wait(1_000_000)
    assert dropping.loses(second) == "job-0"


def test_a_job_that_came_after_the_end_of_another_runs(dropping: Scene) -> None:
    """The identity is free again."""
    dropping.runs(dropping.comes())
    dropping.runs(dropping.comes())


def test_a_job_is_dropped_while_another_waits_for_its_retry(dropping: Scene) -> None:
    """The other will run yet; then its own retry runs."""
    retry = dropping.fails(dropping.comes())
    dropping.wait(10)
    assert dropping.loses(dropping.comes()) == "job-0"
    dropping.wait(60_000)
    dropping.runs(retry)
    dropping.runs(dropping.comes())


def test_other_identities_and_other_keys_are_others(dropping: Scene) -> None:
    """Jobs conflict with those of their own identity alone."""
    first = dropping.comes()
    other = dropping.comes(identity=b"work:b")
    dropping.runs(first)
    dropping.runs(other)


def test_a_job_that_ended_without_a_run_is_in_nobodys_way(dropping: Scene) -> None:
    """An unreadable job must not swallow the next one."""
    first, second = dropping.comes(), dropping.comes()
    assert dropping.jobs.admit(first) is None
    dropping.jobs.note(first, Dead(reason="undecodable", failure=FAILURE))
    dropping.runs(second)


def test_a_job_that_is_delivered_again_is_no_duplicate_of_itself(dropping: Scene) -> None:
    """It was interrupted, and comes again."""
    first = dropping.comes()
    assert dropping.jobs.admit(first) is None
    dropping.jobs.note(first, INTERRUPTED)
    dropping.runs(first)


def test_a_second_record_of_a_waiting_job_is_a_duplicate_of_it(dropping: Scene) -> None:
    """A producer repeats what was not confirmed; the first record waits for its retry."""
    first = dropping.comes()
    dropping.fails(first)
    again = dropping._record(dropping.main, next(dropping.numbers), first.pairs)
    assert dropping.loses(again) == "job-0"


def test_an_identity_is_free_when_its_waiting_job_is_skipped_as_done(dropping: Scene) -> None:
    """A twin of it was done elsewhere: nothing else would ever free it."""
    retry = dropping.fails(dropping.comes())
    dropping.jobs.note(retry, SKIPPED, has_ended=True)
    dropping.runs(dropping.comes())


def test_a_retry_that_no_topic_takes_frees_its_identity(dropping: Scene) -> None:
    """The settler makes a dead letter of it, long after the runner's outcome."""
    first = dropping.comes()
    dropping.fails(first)
    end = dropping.jobs.take_end(first, Dead(reason="too-large", failure=FAILURE))
    assert end is not None
    dropping.runs(dropping.comes())


def test_at_most_one_waits_behind_a_running_job(dropping: Scene) -> None:
    """`while_=("waiting",)`: the first that comes while one runs waits behind it, and is in the way of the others."""
    scene = Scene(Unique(while_=("waiting",)))
    first = scene.comes()
    assert scene.jobs.admit(first) is None
    scene.wait(10)
    second, third = scene.comes(), scene.comes()
    scene.wait(10)
    scene.jobs.note(first, DONE)
    scene.runs(second)
    assert scene.loses(third) == "job-1"


# ---- within


def test_a_replay_within_the_period_runs_its_job() -> None:
    """It is no new job that came too soon; a replay of a replay is none either, and a new job still is."""
    scene = Scene(Unique(while_=(), within=10 * SECOND))
    first = scene.comes()
    scene.runs(first, outcome=Dead(reason="attempts-spent", failure=FAILURE))
    same = (wire.JOB_ID, b"job-0")
    for replay in (b"r-1", b"r-2"):
        again = scene.comes((wire.REPLAY, replay), same)
        scene.runs(again)
    assert scene.loses(scene.comes()) != ""


def test_within_a_period_one_runs(dropping: Scene) -> None:
    """Throttle: counted from the arrival of the one that ran, whenever the others are read."""
    scene = Scene(Unique(while_=(), within=10 * SECOND))
    scene.runs(scene.comes())
    scene.wait(9_000)
    second = scene.comes()
    scene.wait(100_000)
    assert scene.loses(second) == "job-0"
    scene.runs(scene.comes())


def cancelled_after_another_came(scene: Scene, ended_at_s: float) -> Record:
    """Another job comes while one has its turn, which is cancelled then: its handler ended, or was never called."""
    first = scene.comes()
    assert scene.jobs.admit(first) is None
    scene.wait(10)
    second = scene.comes()
    first.ended_at_s = ended_at_s
    scene.wait(10)
    scene.jobs.note(first, Cancelled(reason="cancelled", detail=""))
    return second


def test_a_job_that_was_cancelled_before_its_handler_was_called_is_in_no_others_way(dropping: Scene) -> None:
    """Such as one that waited for its limit: none of the two would run."""
    dropping.runs(cancelled_after_another_came(dropping, ended_at_s=0.0))


def test_a_job_that_was_cancelled_while_it_ran_was_in_the_way(dropping: Scene) -> None:
    """It has run."""
    assert dropping.loses(cancelled_after_another_came(dropping, ended_at_s=1.0)) == "job-0"


# ---- replace


def test_the_last_of_those_that_wait_behind_their_key_runs(replacing: Scene) -> None:
    """Each loses to the last that was read by its turn."""
    first, second, third = replacing.comes(), replacing.comes(), replacing.comes()
    assert replacing.loses(first) == "job-2"
    assert replacing.loses(second) == "job-2"
    replacing.runs(third)


def test_a_new_job_takes_the_place_and_the_time_of_a_delayed_one(replacing: Scene) -> None:
    """The old one ends as a duplicate of it, when its record comes."""
    due_ms = replacing.now_ms + 60_000
    first = replacing.comes((wire.DUE, format_instant(utc_of(due_ms))))
    assert replacing.jobs.admit(first) is None, "its own record tells when it may start"
    replacing.jobs.note(first, Delayed(due=utc_of(due_ms), delay=DelayClass.SHORT))
    waiting = replacing.as_waiting(first, due_ms)
    assert not replacing.jobs.note_waiting(waiting)
    replacing.wait(10)
    assert replacing.waits(replacing.comes()) == due_ms
    assert [offset for _, offset in replacing.jobs.replaced] == [waiting.offset]
    assert replacing.jobs.note_waiting(waiting)
    assert replacing.loses(waiting) == "job-2"


def test_jobs_that_come_while_one_runs_are_dropped(replacing: Scene) -> None:
    """By default a running job is in the way of new ones."""
    second, third = two_come_while_one_runs(replacing)
    assert replacing.loses(second) == "job-0"
    assert replacing.loses(third) == "job-0"
    replacing.runs(replacing.comes())


def test_the_last_that_comes_while_one_runs_is_kept(keeping_last: Scene) -> None:
    """Where only waiting jobs count."""
    second, third = two_come_while_one_runs(keeping_last)
    assert keeping_last.loses(second) == "job-2"
    keeping_last.runs(third)


def test_no_job_ends_in_favour_of_a_repetition_of_the_one_that_runs(keeping_last: Scene) -> None:
    """A relay has published it twice: the ledger has it when the second record's turn comes, so nothing would run."""
    first = keeping_last.comes((wire.IDEMPOTENCY_KEY, b"once"))
    assert keeping_last.jobs.admit(first) is None
    keeping_last.wait(10)
    second = keeping_last.comes()
    keeping_last.comes((wire.IDEMPOTENCY_KEY, b"once"))
    keeping_last.jobs.note(first, DONE)
    keeping_last.runs(second)


def test_no_job_ends_in_favour_of_one_that_has_expired(replacing: Scene) -> None:
    """None of the two would run."""
    first = replacing.comes()
    expired = replacing.comes((wire.EXPIRES, format_instant(utc_of(replacing.now_ms + 1_000))))
    replacing.wait(1_000)
    replacing.runs(first)
    assert replacing.jobs.admit(expired) is None, "it ends as expired"
    replacing.jobs.note(expired, Cancelled(reason="expired", detail=""))
    replacing.runs(replacing.comes())


def test_no_job_ends_in_favour_of_one_that_an_operator_has_cancelled(replacing: Scene) -> None:
    """None of the two would run."""
    first, cancelled = replacing.comes(), replacing.comes()
    replacing.cancels.begin_job("job-1", Cancellation(order_id="o", operator="ann", reason=""))
    replacing.runs(first)
    replacing.jobs.note(cancelled, Cancelled(reason="cancelled", detail=""))
    replacing.runs(replacing.comes())


def two_come_while_one_runs(scene: Scene) -> tuple[Record, Record]:
    """A job runs, and two others have come when it ends."""
    first = scene.comes()
    assert scene.jobs.admit(first) is None
    scene.wait(10)
    come = scene.comes(), scene.comes()
    scene.wait(10)
    scene.jobs.note(first, DONE)
    return come


def test_a_job_that_came_before_another_began_is_not_lost_though_it_is_read_later(replacing: Scene) -> None:
    """The other ran without it: it must run itself."""
    first, second = replacing.comes(), replacing._record(replacing.main, 99, replacing.comes().pairs)
    replacing.jobs._heirs._latest.clear()
    replacing.wait(10)
    replacing.runs(first)
    replacing.runs(second)


def test_a_retry_loses_to_a_job_that_came_meanwhile(keeping_last: Scene) -> None:
    """The newest arguments count."""
    retry = keeping_last.fails(keeping_last.comes(), due_in_ms=1)
    keeping_last.wait(10)
    newer = keeping_last.comes()
    assert keeping_last.loses(retry).encode() == newer.header(wire.JOB_ID)
    keeping_last.runs(newer)


# ---- put off


def test_each_job_puts_the_work_off_until_it_was_put_off_for_long(putting_off: Scene) -> None:
    """By 10 s after the last, at most 25 s after the first."""
    began_ms = putting_off.now_ms
    dues = []
    for _ in range(4):
        dues.append(putting_off.waits(putting_off.comes()) - began_ms)
        putting_off.wait(8_000)
    assert dues == [10_000, 18_000, 25_000, 25_000]


def test_a_job_that_was_put_off_runs_when_its_time_has_come(putting_off: Scene) -> None:
    """And the next one begins a series of its own."""
    first = putting_off.comes()
    due_ms = putting_off.waits(first)
    waiting = putting_off.as_waiting(first, due_ms, source=Delay(DelayClass.SHORT))
    putting_off.wait(10_000)
    putting_off.runs(waiting)
    assert putting_off.waits(putting_off.comes()) == putting_off.now_ms + 10_000


def test_a_job_that_comes_while_one_runs_is_put_off_and_not_lost(putting_off: Scene) -> None:
    """What it is about may have changed after the run has read it."""
    first = putting_off.comes()
    waiting = putting_off.as_waiting(first, putting_off.waits(first), source=Delay(DelayClass.SHORT))
    putting_off.wait(10_000)
    assert putting_off.jobs.admit(waiting) is None
    putting_off.wait(5)
    second = putting_off.comes()
    putting_off.wait(5)
    putting_off.jobs.note(waiting, DONE)
    assert putting_off.waits(second) == putting_off.now_ms + 10_000 - 5


# ---- restarts


def restarted(scene: Scene, *ended: Record, waiting: tuple[Record, ...] = ()) -> None:
    """Another owner goes on with what the ledger and the tiers have."""
    ends = [scene.jobs.take_end(record, DONE) for record in ended]
    scene.jobs = scene.restarted()
    for end in ends:
        assert end is not None
        read = end_in(*end_record(end))
        assert read == end
        scene.holders.restore_end(end)
    scene.holders.restore_waiting(found for record in waiting if (found := holder_of(record)) is not None)


def test_the_next_owner_drops_what_came_before_an_end(dropping: Scene) -> None:
    """By what the ledger has of that end."""
    first, second = dropping.comes(), dropping.comes()
    dropping.runs(first)
    later = dropping.comes()
    restarted(dropping, first)
    assert dropping.loses(second) == "job-0"
    dropping.runs(later)


def test_the_next_owner_knows_who_waits(dropping: Scene) -> None:
    """By the tier's record."""
    retry = dropping.fails(dropping.comes())
    restarted(dropping, waiting=(retry,))
    assert dropping.loses(dropping.comes()) == "job-0"
    dropping.wait(60_000)
    dropping.runs(retry)


def restarted_with_a_replaced_retry(scene: Scene) -> tuple[Record, Record]:
    """A job that waits for its retry is replaced by another, which is done; returns the retry, and the other job."""
    retry = scene.fails(scene.comes())
    scene.wait(10)
    newer = scene.comes()
    waits = scene.as_waiting(newer, scene.waits(newer))
    scene.wait(60_000)
    scene.runs(waits)
    restarted(scene, waits, waiting=(retry,))
    return retry, newer


def test_the_next_owner_lets_a_replaced_job_end_though_its_winner_is_done(keeping_last: Scene) -> None:
    """It waits in a tier still, and the winner has no record any more."""
    retry, newer = restarted_with_a_replaced_retry(keeping_last)
    assert keeping_last.loses(retry).encode() == newer.header(wire.JOB_ID)


def test_the_next_owner_goes_on_to_put_off(putting_off: Scene) -> None:
    """The first of the series is in the waiting record."""
    began_ms = putting_off.now_ms
    first = putting_off.comes()
    putting_off.waits(first)
    putting_off.wait(9_000)
    second = putting_off.comes()
    waiting = putting_off.as_waiting(second, putting_off.waits(second))
    restarted(putting_off, waiting=(waiting,))
    putting_off.wait(9_000)
    assert putting_off.waits(putting_off.comes()) == began_ms + 25_000


def test_replaced_jobs_that_still_wait_are_brought_forward_after_the_partition_came_back(replacing: Scene) -> None:
    """Of those whose tier never left: the calendar has their records still."""
    retry = replacing.fails(replacing.comes())
    assert not replacing.jobs.note_waiting(retry)
    replacing.waits(replacing.comes())
    former, replacing.jobs = replacing.jobs, replacing.restarted()
    replacing.jobs.absorb_former(former)
    assert list(replacing.jobs.replaced) == [(retry.assignment, retry.offset)]


# ---- memory


def test_ended_jobs_are_forgotten_when_nothing_can_be_their_duplicate(dropping: Scene) -> None:
    """All that came before the end has had its turn, by what was read and is complete."""
    dropping.runs(dropping.comes())
    dropping.jobs.note_read(MAIN, 1, dropping.now_ms - 1)
    dropping.jobs.forget_old({MAIN: 1})
    assert len(dropping.holders) == 1, "a job that came before its end may be read yet"
    dropping.wait(10)
    dropping.jobs.note_read(MAIN, 5, dropping.now_ms)
    dropping.jobs.forget_old({MAIN: 4})
    assert len(dropping.holders) == 1, "one at offset 4 is not complete"
    dropping.jobs.forget_old({MAIN: 5})
    assert len(dropping.holders) == 0


def note_all_read(scene: Scene) -> None:
    """All that has come to the main topic by now has had its turn, and what can be forgotten is."""
    scene.jobs.note_read(MAIN, 100, scene.now_ms)
    scene.jobs.forget_old({MAIN: 100})


def test_a_winner_is_remembered_until_the_records_of_those_that_it_replaced_have_come(replacing: Scene) -> None:
    """A replaced job that waits for tomorrow would run tomorrow, were its winner forgotten."""
    due_ms = replacing.now_ms + 60_000
    first = replacing.comes((wire.DUE, format_instant(utc_of(due_ms))))
    assert replacing.jobs.admit(first) is None
    replacing.jobs.note(first, Delayed(due=utc_of(due_ms), delay=DelayClass.SHORT))
    second = replacing.comes()
    waiting = [replacing.as_waiting(job, due_ms) for job in (first, second) if job is first or replacing.waits(job)]
    replacing.wait(10)
    winner = replacing.comes((wire.DUE, format_instant(utc_of(replacing.now_ms))))
    replacing.runs(winner)
    replacing.wait(10)
    for record in waiting:
        note_all_read(replacing)
        assert replacing.jobs.note_waiting(record)
        assert replacing.loses(record).encode() == winner.header(wire.JOB_ID)
    note_all_read(replacing)
    assert len(replacing.holders) == 0


def test_the_next_owner_remembers_a_winner_until_the_records_of_those_that_it_replaced_have_come(
    keeping_last: Scene,
) -> None:
    """It knows both from the topics, in any order."""
    retry, _ = restarted_with_a_replaced_retry(keeping_last)
    keeping_last.wait(60_000)
    note_all_read(keeping_last)
    keeping_last.loses(retry)
    note_all_read(keeping_last)
    assert len(keeping_last.holders) == 0


def test_no_more_ended_jobs_are_kept_than_the_window_holds(dropping: Scene) -> None:
    """However long a paused job keeps the partition from passing them."""
    for number in range(25):
        dropping.runs(dropping.comes(identity=b"work:%d" % number))
    dropping.jobs.forget_old({MAIN: 0})
    assert len(dropping.holders) == dropping.most_ended


def test_what_the_brokers_have_deleted_holds_no_identity(dropping: Scene) -> None:
    """A retry that is gone would keep its identity for ever."""
    dropping.fails(dropping.comes(), due_in_ms=5)
    dropping.wait(100)
    dropping.jobs.note_gone()
    dropping.runs(dropping.comes())
