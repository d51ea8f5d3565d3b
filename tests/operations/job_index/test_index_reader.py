"""Each question about jobs goes by an index of the file, keeps to its budget, and says how far it has looked."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.operations.job_index.index_reader import GROUPINGS, IndexReader
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.states import State
from support.sight.index import ENQUEUED_MS, Index, an_id, done, enqueued, failed

pytestmark = pytest.mark.timeout(60)

SINCE = datetime.fromtimestamp(ENQUEUED_MS / 1e3, UTC)
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
    assert not [step for step in steps if step.startswith("SCAN i")]
    by_words = "words" in names
    assert any(step.startswith(("SEARCH i USING INDEX", "SEARCH i USING INTEGER PRIMARY KEY")) for step in steps), steps
    assert by_words == any(step.startswith("SCAN words VIRTUAL TABLE") for step in steps)


def test_no_question_about_one_job_or_key_scans_the_jobs(reader: IndexReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """These are asked by every look at a job."""
    asked: list[str] = []
    reader._connection.set_trace_callback(asked.append)
    reader.job(an_id(1))
    reader.history(an_id(1))
    reader.of_key("mails", "k-1", 5)
    reader.open_before("mails", "k-1", SINCE)
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
        ({"states": (State.WAITING,)}, range(9, -1, -1)),
        ({"states": (State.DONE, State.RETRYING)}, [30, *range(19, 9, -1)]),
        ({"tenant": "acme", "states": (State.DEAD,)}, range(29, 19, -1)),
        ({"key": "k-1", "types": ("send",)}, range(29, 19, -1)),
        ({"error": "Declined", "states": (State.RETRYING,)}, [30]),
        ({"error": "Decline"}, []),
        ({"fingerprint": "00ff", "queues": ("imports",)}, [30]),
        ({"words": "acc* no"}, [30]),
        ({"words": "NEAR("}, []),
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


def test_counts_come_by_each_grouping(reader: IndexReader) -> None:
    """The most first."""
    assert reader.counts(("state",), JobFilter()) == [
        (("dead",), 10),
        (("done",), 10),
        (("waiting",), 10),
        (("retrying",), 1),
    ]
    assert reader.counts(("type", "state"), JobFilter(types=("charge",))) == [(("charge", "done"), 10)]
    ((failure, jobs),) = reader.counts(("failure",), JobFilter(error="Declined"))
    assert (failure, jobs) == (("shop.Declined 00ff00ff00ff00ff: card declined",), 11)
    assert reader.counts(("state",), JobFilter(since=SINCE)) == [(("dead",), 10), (("done",), 10)]


def test_the_job_in_front_is_the_oldest_open_one_of_its_key(tmp_path: Path) -> None:
    """That is what the others of the key wait for."""
    index = Index(tmp_path / "index.sqlite")
    index.apply(done(1, key="k"), failed(2, key="k"), enqueued(3, key="k"), enqueued(4, key="k"))
    with IndexReader(index.path) as reader:
        front = reader.open_before("mails", "k", SINCE + timedelta(milliseconds=4))
        assert front is not None
        assert front.job_id == an_id(2)
        assert reader.open_before("mails", "k", SINCE + timedelta(milliseconds=2)) is None
