"""Each question about jobs goes by an index of the file, keeps to its budget, and says how far it has looked."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.operations.job_index.entries import JobEntry
from stoker.operations.job_index.index_reader import GROUPINGS, IndexReader, IndexState, WindowPlan
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.listed_jobs import ListedJob
from stoker.operations.job_index.states import State
from stoker.topology import Pipeline, Queue
from support.sight.index import ENQUEUED_MS, Index, an_id, done, enqueued, failed

pytestmark = pytest.mark.timeout(60)

SINCE = datetime.fromtimestamp(ENQUEUED_MS / 1e3, UTC)
KEYED = Pipeline("shop").queue("mails")
STRICT = Pipeline("shop").queue("mails", ordering="strict")
FREE = Pipeline("shop").queue("mails", ordering="none")
URGENT = Pipeline("shop").queue("mails", priorities={"high": 2, "normal": 1})
PARTS: dict[str, Any] = {
    "queues": ("mails",),
    "types": ("send", "charge"),
    "states": (State.DEAD, State.RETRYING),
    "tenant": "acme",
    "key": "k-1",
    "worker": "w1",
    "release": "v1",
    "error": "Declined",
    "fingerprint": "00ff",
    "words": "declined",
    "since": SINCE,
}


@pytest.fixture
def reader(tmp_path: Path) -> IndexReader:
    """Of an index with jobs of each sort."""
    index = Index(tmp_path / "index.sqlite")
    labels: dict[str, Any] = {"tenant": "acme", "key": "k-1", "release": "v1"}
    index.apply(
        *(enqueued(number) for number in range(10)),
        *(done(number, job_type="charge", **labels) for number in range(10, 20)),
        *(failed(number, 1, "dead", **labels) for number in range(20, 30)),
        failed(30, 1, "retried", message="no account", queue="imports"),
    )
    return IndexReader(index.path)


@pytest.mark.parametrize("names", [*itertools.combinations(PARTS, 1), *itertools.combinations(PARTS, 2), tuple(PARTS)])
def test_no_list_scans_the_jobs(reader: IndexReader, names: tuple[str, ...]) -> None:
    """With ten million of them, one scan takes seconds."""
    plan = reader.plan(JobFilter(**{name: PARTS[name] for name in names}))
    assert plan is not None
    steps = plan_of(reader, plan.text, (0, 1 << 50, *plan.values, 10))
    assert any(step.startswith("SEARCH i USING INDEX") for step in steps), steps
    if "words" in names:
        by_words = reader.plan_by_words(JobFilter(**{name: PARTS[name] for name in names}))
        assert by_words is not None
        steps = plan_of(reader, by_words.text, (0, 1 << 50, *by_words.values, 10))
        assert any(step.startswith("SEARCH i USING INTEGER PRIMARY KEY") for step in steps), steps
        assert any(step.startswith("SCAN words VIRTUAL TABLE") for step in steps), steps


def test_no_question_about_one_job_or_key_scans_the_jobs(reader: IndexReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """These are asked by every look at a job."""
    asked: list[str] = []
    reader._connection.set_trace_callback(asked.append)
    reader.job(an_id(1))
    reader.history(an_id(1))
    reader.of_key("mails", "k-1", 5)
    (job,) = reader.find(JobFilter(until=SINCE + timedelta(milliseconds=1)), 5, 10).jobs
    for queue in (KEYED, STRICT, URGENT):
        reader.ahead_of(replace(job, key="k-1"), queue, SINCE)
    reader.find(JobFilter(), 5)
    reader.counts(GROUPINGS, JobFilter(since=SINCE, error="Declined"))
    reader._connection.set_trace_callback(None)
    assert len(asked) > 6
    for statement in asked:
        assert not [step for step in plan_of(reader, statement) if step.startswith(("SCAN i", "SCAN jobs"))], statement


def plan_of(reader: IndexReader, statement: str, values: tuple[Any, ...] = ()) -> list[str]:
    """The steps of SQLite's plan."""
    return [row[3] for row in reader._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, range(30, -1, -1)),
        ({"types": ("charge",)}, range(19, 9, -1)),
        ({"queues": ("imports",)}, [30]),
        ({"states": (State.QUEUED,)}, range(9, -1, -1)),
        ({"states": (State.DONE, State.RETRYING)}, [30, *range(19, 9, -1)]),
        ({"tenant": "acme", "states": (State.DEAD,)}, range(29, 19, -1)),
        ({"key": "k-1", "types": ("send",)}, range(29, 19, -1)),
        ({"error": "Declined", "states": (State.RETRYING,)}, [30]),
        ({"error": "Decline"}, []),
        ({"fingerprint": "00ff", "queues": ("imports",)}, [30]),
        ({"words": "acc* no"}, [30]),
        ({"words": "NEAR("}, []),
        ({"words": "Nó-ACCount"}, [30]),
        ({"words": "!"}, []),
        ({"release": "v1", "worker": "w1", "types": ("charge",)}, range(19, 9, -1)),
        ({"tenant": "nobody"}, []),
        ({"until": SINCE + timedelta(milliseconds=2)}, [1, 0]),
        ({"since": SINCE + timedelta(milliseconds=29)}, [30, 29]),
    ],
)
def test_a_list_has_what_its_filter_takes_the_newest_first(
    reader: IndexReader, wanted: dict[str, Any], numbers: Any
) -> None:
    """All that is named must hold."""
    found = reader.find(JobFilter(**wanted), 100, 10)
    assert [job.job_id for job in found.jobs] == [an_id(number) for number in numbers]
    assert (found.more, found.searched_to) == (False, None)


def test_an_index_is_not_fresh_by_a_clock_that_was_set_back() -> None:
    """Its process may have died before that, and it would pass for fresh until the clock is there again."""
    state = IndexState(read_at=SINCE + timedelta(hours=1), behind=0, jobs=1)
    assert state.age_s(SINCE.timestamp()) == 3_600.0


def test_a_list_that_is_full_says_where_it_ended(reader: IndexReader) -> None:
    """Whoever wants more asks for what was enqueued before that."""
    found = reader.find(JobFilter(), 3, 10)
    assert [job.job_id for job in found.jobs] == [an_id(30), an_id(29), an_id(28)]
    assert (found.more, found.searched_to) == (True, SINCE + timedelta(milliseconds=28))


def test_a_list_whose_budget_is_spent_says_how_far_it_has_looked(reader: IndexReader) -> None:
    """An answer without a word about its limits would pass for all there is."""
    found = reader.find(JobFilter(), 3, 0.0)
    assert found.jobs == []
    assert found.more
    assert found.searched_to is not None


def test_a_list_begins_with_jobs_of_publishers_whose_clocks_are_ahead(tmp_path: Path) -> None:
    """One is ahead by minutes, one by centuries: their jobs are listed, and all others are found behind them."""
    index = Index(tmp_path / "index.sqlite")
    now_ms = int(time.time() * 1e3)
    ages_ms = {1: now_ms, 2: now_ms + 300_000, 3: 1 << 48}
    index.apply(*(enqueued(number, enqueued_ms=at_ms) for number, at_ms in ages_ms.items()), enqueued(4))
    with IndexReader(index.path) as reader:
        found = reader.find(JobFilter(), 10, 10)
    assert [job.job_id for job in found.jobs] == [an_id(number) for number in (3, 2, 1, 4)]
    assert not found.more


def interrupt_beyond(reader: IndexReader, monkeypatch: pytest.MonkeyPatch, most_ms: int) -> None:
    """Have each window that is longer take more than its budget."""
    within = reader._within

    def within_some(plan: WindowPlan, from_ms: int, until_ms: int, *rest: Any) -> list[ListedJob] | None:
        return None if until_ms - from_ms > most_ms else within(plan, from_ms, until_ms, *rest)

    monkeypatch.setattr(reader, "_within", within_some)


def test_a_list_by_words_has_the_newest_first_whatever_was_read_first(tmp_path: Path) -> None:
    """Partitions that are caught up with are read one after the other."""
    index = Index(tmp_path / "index.sqlite")
    index.apply(*(failed(number, enqueued_ms=ENQUEUED_MS + ms) for number, ms in ((1, 30), (2, 10), (3, 20))))
    with IndexReader(index.path) as reader:
        found = reader.find(JobFilter(words="declined"), 1, 10)
    assert [job.job_id for job in found.jobs] == [an_id(1)]
    assert (found.more, found.searched_to) == (True, SINCE + timedelta(milliseconds=30))


def test_jobs_of_the_instant_at_which_a_list_ends_come_with_the_next_one(tmp_path: Path) -> None:
    """Many may be of one millisecond; the next list has only what was enqueued before the end of this one."""
    index = Index(tmp_path / "index.sqlite")
    index.apply(*(enqueued(number, enqueued_ms=ENQUEUED_MS + ms) for number, ms in enumerate((0, 1, 1, 2))))
    with IndexReader(index.path) as reader:
        first = reader.find(JobFilter(), 2, 10)
        rest = reader.find(JobFilter(until=first.searched_to), 10, 10)
    assert [job.job_id for job in first.jobs] == [an_id(3)]
    assert {job.job_id for job in rest.jobs} == {an_id(number) for number in (0, 1, 2)}


@pytest.mark.parametrize(
    "wanted", [{}, {"error": "Declined"}, {"worker": "w1"}, {"words": "declined"}, {"words": "acc*", "key": "k"}]
)
def test_a_list_takes_a_shorter_window_where_one_takes_too_long(
    reader: IndexReader, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]
) -> None:
    """Else it would end where it has begun, with the advice to begin there again."""
    all_jobs = [job.job_id for job in reader.find(JobFilter(**wanted), 100, 10).jobs]
    interrupt_beyond(reader, monkeypatch, 40)
    assert [job.job_id for job in reader.find(JobFilter(**wanted), 100, 10).jobs] == all_jobs


@pytest.mark.parametrize("at_ms", [1 << 48, -(1 << 48)])
def test_a_job_of_a_time_beyond_the_calendar_is_shown_at_its_end(tmp_path: Path, at_ms: int) -> None:
    """A UUID of version 7 can name the year 10889, Python 9999 at most; all that one holds must be shown."""
    index = Index(tmp_path / "index.sqlite")
    index.apply(done(1, enqueued_ms=at_ms, at_ms=at_ms, began_ms=at_ms))
    with IndexReader(index.path) as reader:
        job = reader.job(an_id(1))
    assert job is not None
    assert {job.enqueued.year, job.changed.year} <= {1, 9999}


def test_counts_come_by_each_grouping(reader: IndexReader) -> None:
    """The most first."""
    assert reader.counts(("state",), JobFilter()) == [
        (("dead",), 10),
        (("done",), 10),
        (("queued",), 10),
        (("retrying",), 1),
    ]
    assert reader.counts(("type", "state"), JobFilter(types=("charge",))) == [(("charge", "done"), 10)]
    ((failure, jobs),) = reader.counts(("failure",), JobFilter(error="Declined"))
    assert (failure, jobs) == (("shop.Declined 00ff00ff00ff00ff: card declined",), 11)
    assert reader.counts(("state",), JobFilter(since=SINCE)) == [(("dead",), 10), (("done",), 10)]


def moved(number: int, state: State, due_ms: int, **named: Any) -> JobEntry:
    """What the record in a tier or a delay topic says of a job that is due so many milliseconds after `SINCE`."""
    given = {"topic": "shop.mails.away", "step": 10, "due_ms": ENQUEUED_MS + due_ms, "key": "k"}
    return enqueued(number, **{**given, "state": state, **named})


WAITS = enqueued(5, key="k")
DUE_AT = 60_000
BACK_SOON = moved(5, State.RETRYING, DUE_AT - 1)


@pytest.mark.parametrize(
    ("queue", "job", "others", "ahead"),
    [
        (KEYED, WAITS, [enqueued(3, key="k"), enqueued(4, key="k")], 3),
        (KEYED, WAITS, [enqueued(6, key="k"), enqueued(3, key="other"), done(4, key="k")], None),
        (KEYED, WAITS, [enqueued(6, key="k", offset=2)], 6),  # clocks of producers differ
        (KEYED, WAITS, [moved(3, State.RETRYING, DUE_AT + 1), moved(4, State.DELAYED, DUE_AT + 1)], None),
        (KEYED, WAITS, [moved(3, State.RETRYING, 4)], 3),
        (KEYED, WAITS, [moved(3, State.RETRYING, 6)], None),  # it was due after this one had come
        (KEYED, BACK_SOON, [enqueued(6, key="k"), moved(7, State.RETRYING, DUE_AT)], 6),
        (KEYED, moved(5, State.DELAYED, DUE_AT + 1), [enqueued(3, key="k")], None),
        (KEYED, enqueued(5, key="k", life=1, at_ms=ENQUEUED_MS + 9, offset=9), [enqueued(7, key="k")], 7),
        (FREE, WAITS, [enqueued(3, key="k")], None),
        (STRICT, WAITS, [enqueued(3, key="k")], 3),
        (STRICT, WAITS, [moved(3, State.RETRYING, DUE_AT + 1)], 3),
        (STRICT, WAITS, [moved(3, State.DELAYED, DUE_AT + 1)], 3),
        (STRICT, WAITS, [enqueued(3, key="k", state=State.DELAYED, due_ms=ENQUEUED_MS + DUE_AT + 1)], 3),
        (STRICT, WAITS, [enqueued(6, key="k", state=State.DELAYED, due_ms=ENQUEUED_MS + DUE_AT + 1)], None),
        (STRICT, BACK_SOON, [enqueued(3, key="k"), moved(4, State.SNOOZED, DUE_AT)], None),
        (STRICT, BACK_SOON, [moved(6, State.SNOOZED, DUE_AT - 2)], 6),
        (URGENT, WAITS, [enqueued(3, key="k")], 3),
        (URGENT, WAITS, [enqueued(3, key="k", topic="shop.mails.high"), moved(4, State.RETRYING, 4)], None),
    ],
)
def test_a_job_is_ahead_where_the_ordering_lets_it_hold_up_another(
    tmp_path: Path, queue: Queue, job: JobEntry, others: list[JobEntry], ahead: int | None
) -> None:
    """One that only waits to be due holds up none, unless the order is strict."""
    index = Index(tmp_path / "index.sqlite")
    index.apply(job, *others)
    with IndexReader(index.path) as reader:
        listed = reader.job(job.job_id)
        assert listed is not None
        found = reader.ahead_of(listed, queue, SINCE + timedelta(milliseconds=DUE_AT))
    assert (None if found is None else found.job_id) == (None if ahead is None else an_id(ahead))
