"""`stoker jobs why` names what holds a job back, and where that is not known it says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stoker.operations.index_commands.reasons import Circumstances, is_about, reasons
from stoker.operations.job_index.job_history import JobHistory, listed_of
from stoker.operations.job_index.listed_jobs import ListedJob
from stoker.operations.job_index.states import State
from stoker.operations.queue_status.blocker_reports import BlockerReport
from stoker.topology import Pipeline, Queue
from support.sight.index import ENQUEUED_MS, an_id, enqueued

NOW = datetime.fromtimestamp(ENQUEUED_MS / 1e3, UTC) + timedelta(minutes=5, seconds=1)
KEYED = Pipeline("shop").queue("mails")
STRICT = Pipeline("shop").queue("mails", ordering="strict")
FREE = Pipeline("shop").queue("mails", ordering="none")
URGENT = Pipeline("shop").queue("mails", priorities={"high": 2, "normal": 1})
READY = "It is ready: it starts when a runner is free, or runs already"
BY_TOPICS = (
    "Whether it waits for an earlier job of its key 'k', the topics alone do not show: `stoker status run` keeps an "
    "index, which does."
)
OF_PRIORITIES = (
    "Jobs of its key 'k' run one at a time, whatever their priorities: the index does not show whether another one "
    "runs now."
)


def a_job(number: int = 1, state: State = State.QUEUED, due: timedelta | None = None) -> ListedJob:
    """A job of a key, enqueued five minutes ago; `due` counts from now."""
    return replace(listed_of(enqueued(number, key="k", state=state)), due=None if due is None else NOW + due)


def why(
    job: ListedJob, queue: Queue | None, seen: Circumstances, *, by_topics: bool = False, front: ListedJob | None = None
) -> list[str]:
    """The sentences about it."""
    return reasons(JobHistory(job=job, entries=(), front=front, is_of_topics=by_topics), queue, seen, NOW)


def test_a_ready_job_is_ready_only_where_all_is_known() -> None:
    """What the source of the answer does not show is no reason to call it so."""
    working = Circumstances(workers=1)
    assert why(a_job(), KEYED, working) == [f"{READY}."]
    assert why(a_job(), FREE, working, by_topics=True) == [f"{READY}."]
    assert why(a_job(), KEYED, working, by_topics=True) == ["Nothing is known that holds it back.", BY_TOPICS]
    assert why(a_job(), URGENT, working) == ["Nothing is known that holds it back.", OF_PRIORITIES]
    told = why(a_job(), KEYED, Circumstances(workers=1, faults=["orders are not known"]))
    assert told == ["Nothing is known that holds it back.", "Orders are not known."]


def test_a_job_that_the_workers_may_hold_back_is_ready_with_that_reserve() -> None:
    """Workers report single jobs only of those that hold up others; of all that wait at gates they report how many."""
    limited = Circumstances(workers=1, held_back="3 limited")
    unless = ", unless it is one of the jobs of its queue that the workers hold back: 3 limited."
    assert why(a_job(), KEYED, limited) == [f"{READY}{unless}"]
    was_due = f"{READY}{unless} It was due 2m ago."
    assert why(a_job(1, State.RETRYING, -timedelta(minutes=2)), KEYED, limited) == [was_due]


@pytest.mark.parametrize(("queue", "is_held"), [(KEYED, False), (STRICT, True), (FREE, False)])
def test_a_job_that_is_not_due_waits_for_its_key_only_in_strict_order(queue: Queue, is_held: bool) -> None:
    """In all other queues it is passed by others until it is due, and passes them."""
    first, *more = why(a_job(1, State.DELAYED, timedelta(hours=2)), queue, Circumstances(workers=1), by_topics=True)
    assert first == f"It was enqueued to wait until {NOW + timedelta(hours=2):%Y-%m-%d %H:%M:%SZ}, in 2h."
    assert more == ([BY_TOPICS] if is_held else [])


def test_the_job_in_front_is_named_with_what_it_does() -> None:
    """One that waits for a retry is in the way of others by the order of the queue alone."""
    seen = Circumstances(workers=1)
    named = f"Job {an_id(2)} of the same key 'k', enqueued 5m ago,"
    waits = why(a_job(), KEYED, seen, front=a_job(2))
    assert waits == [f"{named} runs or waits to run, and comes first: jobs of a key run one after another."]
    assert why(a_job(), KEYED, seen, front=a_job(2, State.RETRYING, -timedelta(seconds=1))) == waits
    (strict,) = why(a_job(), STRICT, seen, front=a_job(2, State.RETRYING, timedelta(minutes=3)))
    assert strict.startswith(f"{named} is retrying until")
    assert strict.endswith(
        "in 3m: the order of the queue is strict, so later jobs of the key wait until that one has ended."
    )


def test_what_its_worker_reports_leaves_nothing_open() -> None:
    """The worker knows whether the job waits for its key."""
    seen = Circumstances(workers=1, report="job 1 has run for 20s")
    assert why(a_job(), KEYED, seen, by_topics=True) == ["Its worker reports: job 1 has run for 20s."]


@pytest.mark.parametrize(
    ("changed", "is_it"),
    [
        ({}, True),
        ({"job_id": ""}, True),  # the worker has only its offset at hand
        ({"job_id": "", "offset": 2}, False),
        ({"worker": "gone"}, False),
        ({"at": NOW - timedelta(hours=1)}, False),  # a run before the record that it is now
    ],
)
def test_a_report_counts_while_its_worker_and_the_record_are_there(changed: dict[str, object], is_it: bool) -> None:
    """An old one is about a run that has ended."""
    report = BlockerReport(
        queue="mails",
        partition=("shop.mails", 0),
        offset=1,
        job_id=an_id(1),
        job_type="send",
        state="running",
        worker="w1",
        at=NOW,
        since=NOW - timedelta(seconds=20),
    )
    assert is_about(replace(report, **changed), a_job(), {"w1"}) is is_it  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (State.CANCELLED, "It was cancelled 5m ago."),
        (State.EXPIRED, "It expired 5m ago."),
        (State.DISCARDED, "It discarded itself 5m ago."),
        (State.DEAD_DISCARDED, "It was a dead letter, and an operator discarded it 5m ago."),
    ],
)
def test_each_end_has_its_sentence(state: State, sentence: str) -> None:
    """Who ended a job is part of how it ended."""
    assert why(a_job(1, state), KEYED, Circumstances()) == [sentence]


def test_an_end_that_only_the_ledger_has_is_told_as_such() -> None:
    """The ledger has one word for three ends."""
    job = replace(a_job(1, State.CANCELLED), known_from="ledger")
    (told,) = why(job, KEYED, Circumstances())
    assert (
        told == "It ended 5m ago: it was cancelled, has expired or discarded itself; only the ledger has it, not which."
    )
