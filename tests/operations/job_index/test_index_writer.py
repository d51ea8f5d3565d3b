"""The index has of each job what is latest of it, in whatever order it comes, and its counts are those of its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.consumers.partitions.ledger_records import entry_record
from stoker.consumers.settling.writes import LedgerState
from stoker.operations.job_index.database import (
    STEPS_TO_FINISH,
    IndexAbsent,
    IndexBusy,
    begin_building,
    is_building,
    open_for_reading,
    open_for_writing,
    steps_to_finish,
    take_lock,
)
from stoker.operations.job_index.entries import DispositionEntry, JobEntry, shown_id, stored_id
from stoker.operations.job_index.index_reader import IndexReader
from stoker.operations.job_index.index_writer import NO_ROW, IndexWriter
from stoker.operations.job_index.job_filter import JobFilter
from stoker.operations.job_index.ledger_names import ended_by
from stoker.operations.job_index.states import State, step_of_record
from stoker.topology.declaration.topics import Role
from stoker.topology.wire.ledger_names import MOVED
from support.sight.index import ENQUEUED_MS, PLACE, Index, an_id, check_counts, done, enqueued, failed

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """An empty one."""
    return Index(tmp_path / "index.sqlite")


LIVES: tuple[list[Callable[[int], JobEntry]], ...] = (
    [enqueued, done],
    [enqueued, failed, lambda n: done(n, 2)],
    [enqueued, failed, lambda n: failed(n, 2, "dead")],
    [enqueued, lambda n: failed(n, 1, "snoozed"), done],
    [enqueued, lambda n: failed(n, 1, "dead"), lambda n: enqueued(n, life=ENQUEUED_MS + 9_000, at_ms=ENQUEUED_MS)],
)
ENDS = ("done", "done", "dead", "done", "queued")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_in_whatever_order_it_comes_the_latest_stands(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Partitions are read side by side, and records come twice after a crash of their producer."""
    index = Index(tmp_path_factory.mktemp("index") / "index.sqlite")
    entries = [step(number) for number, life in enumerate(LIVES) for step in life]
    again = data.draw(st.lists(st.sampled_from(range(len(entries))), max_size=5))
    order = data.draw(st.permutations([*range(len(entries)), *again]))
    while order:
        size = data.draw(st.integers(1, len(order)))
        index.apply(*(replace(entries[at], history=list(entries[at].history)) for at in order[:size]))
        order = order[size:]
    assert index.states() == {an_id(number): end for number, end in enumerate(ENDS)}
    check_counts(index.connection)
    runs = index.connection.execute("SELECT sum(runs) FROM failures").fetchone()[0]
    assert runs == 5  # each failed run once, however often it was told


def test_clocks_that_differ_do_not_bring_a_job_back(index: Index) -> None:
    """The producer's clock may be minutes ahead of the worker's."""
    index.apply(done(1))
    index.apply(enqueued(1, at_ms=ENQUEUED_MS + 600_000))
    assert index.states() == {an_id(1): "done"}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1)])
def test_a_job_that_failed_on_its_way_is_found_by_its_failure(index: Index, order: tuple[int, ...]) -> None:
    """Also where the partition of the event that it is done is read before that of its failure."""
    entries = (enqueued(1), failed(1), done(1, 2))
    for at in order:
        index.apply(entries[at])
    with IndexReader(index.path) as reader:
        assert [job.job_id for job in reader.find(JobFilter(error="Declined"), 5).jobs] == [an_id(1)]
        assert reader.counts(("failure",), JobFilter(error="Declined"))[0][1] == 1
    check_counts(index.connection)


@pytest.mark.parametrize("is_one_batch", [False, True])
def test_of_two_records_of_a_partition_the_second_one_stands(index: Index, is_one_batch: bool) -> None:
    """A job snoozes twice, by workers whose clocks differ by more; its first record was committed long ago."""
    delayed: dict[str, Any] = {"state": State.SNOOZED, "step": step_of_record(1, Role.DELAY), "topic": "shop.mails.5s"}
    entries = [enqueued(1, offset=at, at_ms=ENQUEUED_MS + at_ms, **delayed) for at, at_ms in ((5, 9_000), (6, 2_000))]
    for some in [entries] if is_one_batch else [[entry] for entry in (*entries, entries[0])]:
        index.apply(*some)
    (row,) = index.writer.open_rows(NO_ROW, 10)
    assert row.off == 6


def test_what_the_ledger_has_beyond_the_events_is_reconciled(index: Index) -> None:
    """An event may be lost; the ledger's word counts only for jobs that have not ended."""
    index.apply(enqueued(1), enqueued(2), failed(3, 1, "dead"), enqueued(4, names=("order-4",)))
    ended = dict.fromkeys((an_id(1), an_id(3), an_id(9), "order-4"), (State.DONE, ENQUEUED_MS + 50))
    assert index.writer.reconcile(ended, {}) == 2
    assert index.states() == {an_id(1): "done", an_id(2): "queued", an_id(3): "dead", an_id(4): "done"}
    check_counts(index.connection)


def test_an_event_that_comes_after_the_ledger_knows_more(index: Index) -> None:
    """It has when the run began."""
    index.apply(enqueued(1))
    index.writer.reconcile({an_id(1): (State.DONE, ENQUEUED_MS + 999_999)}, {})
    index.apply(done(1))
    with IndexReader(index.path) as reader:
        job = reader.job(an_id(1))
    assert job is not None
    assert job.took is not None
    check_counts(index.connection)


def test_the_ledger_speaks_of_a_replayed_job_by_the_replays_name(index: Index) -> None:
    """Its id alone was settled before the replay."""
    index.apply(enqueued(1, life=ENQUEUED_MS, names=(f"r-1:{an_id(1)}",)))
    assert index.writer.reconcile({an_id(1): (State.DONE, ENQUEUED_MS)}, {}) == 0
    assert index.writer.reconcile({f"r-1:{an_id(1)}": (State.DONE, ENQUEUED_MS)}, {}) == 1


def test_a_file_that_cannot_be_opened_is_no_index(tmp_path: Path) -> None:
    """`jobs show` reads the topics then; a folder stands for all that the operating system refuses."""
    with pytest.raises(IndexAbsent, match="cannot be read"):
        open_for_reading(tmp_path)


def ended_in_ledger(name: str, state: LedgerState, at_ms: int = ENQUEUED_MS + 50) -> dict[str, tuple[State, int]]:
    """What the index reads of an entry of the ledger."""
    key, value = entry_record(name, state, datetime.fromtimestamp(at_ms / 1e3, UTC))
    message = Message(topic="shop.mails.ledger", partition=0, offset=0, key=key, value=value, timestamp=(1, at_ms))
    return {ended: (state, at_ms) for ended, state in ended_by(message)}


def test_a_job_that_has_expired_ends_by_its_record_and_none_of_its_idempotency_key(index: Index) -> None:
    """Its key stays free for another try: the ledger's word on the first one would show the second one as cancelled."""
    index.apply(enqueued(1, names=("order",)), enqueued(2, names=("order",)), enqueued(3))
    for number, name in ((1, "order"), (3, an_id(3))):
        index.writer.reconcile(ended_in_ledger(f"{MOVED}{name}@shop.mails/0/{number}", "cancelled"), {})
    assert index.states() == {an_id(1): "queued", an_id(2): "queued", an_id(3): "cancelled"}
    index.writer.reconcile(ended_in_ledger(f"{MOVED}order@shop.mails/0/2", "cancelled"), {})
    assert index.states()[an_id(2)] == "cancelled"
    check_counts(index.connection)


def test_the_ledger_has_nothing_on_a_job_that_came_after_it_with_the_same_key(index: Index) -> None:
    """Its window has passed, the key was free again, and the log still has the entry when the index is rebuilt."""
    index.apply(enqueued(2, names=("order",)))
    assert index.writer.reconcile(ended_in_ledger("order", "done", ENQUEUED_MS - 90_000_000), {}) == 0
    assert index.states() == {an_id(2): "queued"}
    ended = ended_in_ledger("order", "done", ENQUEUED_MS - 5_000)  # its publisher's clock is ahead of its worker's
    assert index.writer.reconcile(ended, {}) == 1


def test_a_discarded_dead_letter_is_dropped(index: Index) -> None:
    """Nobody will replay it."""
    place: dict[str, Any] = {"topic": "shop.mails.dead", "offset": 5, "step": step_of_record(1, Role.DEAD)}
    index.apply(failed(1, 1, "dead", **place))
    index.apply(
        dispositions=[DispositionEntry(topic="shop.mails.dead", partition=0, offset=5, at_ms=ENQUEUED_MS + 9_000)]
    )
    assert index.states() == {an_id(1): "dead-discarded"}
    check_counts(index.connection)


def test_old_jobs_that_have_ended_are_forgotten(index: Index) -> None:
    """With all that belongs to them; one that still waits is kept."""
    index.apply(done(1), failed(2, 1, "dead"), enqueued(3), enqueued(4, enqueued_ms=ENQUEUED_MS + 10**9), done(5))
    assert index.writer.forget(ENQUEUED_MS + 10**8, 3, look=3) == (2, 3)
    assert index.writer.forget(ENQUEUED_MS + 10**8, 3, 3, look=3) == (1, 0)
    assert index.states() == {an_id(3): "queued", an_id(4): "queued"}
    check_counts(index.connection)
    for table in ("history", "texts"):
        assert index.connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    with IndexReader(index.path) as reader:
        assert reader.find(JobFilter(words="declined"), 5).jobs == []


def test_jobs_that_stay_new_do_not_keep_old_ones_behind_them(index: Index) -> None:
    """A publisher whose clock is a year ahead makes rows that gather before all others: the look goes on past them."""
    index.apply(*(done(number, enqueued_ms=ENQUEUED_MS + 10**9) for number in range(6)))
    index.apply(*(done(number) for number in range(6, 11)))
    looks, after_n = [(0, 0)], 0
    while len(looks) == 1 or after_n:
        looks.append(index.writer.forget(ENQUEUED_MS + 10**8, 2, after_n, look=3))
        after_n = looks[-1][1]
    assert looks[1:] == [(0, 3), (0, 6), (2, 8), (2, 10), (1, 0)]
    assert set(index.states()) == {an_id(number) for number in range(6)}
    check_counts(index.connection)


def test_a_batch_that_fails_leaves_nothing_behind(index: Index) -> None:
    """Neither rows, nor offsets, nor names that are remembered and are not in the file."""
    index.apply(enqueued(1), offset=1)
    broken = enqueued(2, queue="other", offset=None)
    with pytest.raises(sqlite3.IntegrityError):
        index.apply(broken, offset=2)
    assert index.writer.offsets() == {("shop.mails", 0): 1}
    index.apply(enqueued(3, queue="other"), offset=3)
    assert index.states() == {an_id(1): "queued", an_id(3): "queued"}
    check_counts(index.connection)


@pytest.mark.parametrize("job_id", [an_id(1), "nightly@2026-03-29", an_id(1).upper(), "x" * 36, ""])
def test_ids_come_back_as_they_were(job_id: str) -> None:
    """A UUID takes 16 bytes, all else is text."""
    assert shown_id(stored_id(job_id)) == job_id


def test_one_process_writes_an_index(tmp_path: Path) -> None:
    """Two would count twice."""
    path = tmp_path / "index.sqlite"
    with take_lock(path), pytest.raises(IndexBusy, match="--index"):
        take_lock(path)
    take_lock(path).close()


def test_an_index_that_cannot_be_read_is_built_again(tmp_path: Path) -> None:
    """Damaged, or of another version: the topics have all of it."""
    path = tmp_path / "index.sqlite"
    with pytest.raises(IndexAbsent, match="status run"):
        open_for_reading(path)
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(IndexAbsent, match="cannot be read"):
        open_for_reading(path)
    Index(path).apply(enqueued(1))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(IndexAbsent, match="another version"):
        open_for_reading(path)
    assert Index(path).states() == {}


@pytest.mark.parametrize("form", [0, 99])
def test_a_file_is_made_anew_while_readers_have_it_open(tmp_path: Path, form: int) -> None:
    """The writer and the readers go on: SQLite fails in both where the file is replaced under a reader."""
    path = tmp_path / "index.sqlite"
    Index(path).apply(enqueued(1))
    reader = sqlite3.connect(path)
    reader.execute(f"PRAGMA user_version = {form}")
    file = path.stat().st_ino
    index = Index(path)
    assert index.states() == {}
    index.apply(enqueued(2))
    assert path.stat().st_ino == file
    assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    reader.close()


def test_a_file_under_construction_goes_on_after_a_kill_at_any_step(tmp_path: Path) -> None:
    """Readers hear how far it is; in the end it has all indexes, and the words of what came before."""
    path = tmp_path / "index.sqlite"
    connection = open_for_writing(path)
    IndexWriter(connection).apply([enqueued(1), failed(2), done(3)], [], {PLACE: 7})
    with pytest.raises(IndexAbsent, match="being built, and has 3 jobs so far"):
        open_for_reading(path)
    for taken in range(STEPS_TO_FINISH):
        steps = steps_to_finish(connection)
        for _ in range(taken + 1):
            next(steps)
        connection.close()  # what a kill leaves: the step that was told is not taken
        connection = open_for_writing(path)
        assert is_building(connection)
    list(steps_to_finish(connection))
    assert not is_building(connection)
    assert IndexWriter(connection).offsets() == {PLACE: 7}
    with IndexReader(path) as reader:
        assert [job.job_id for job in reader.find(JobFilter(words="declined"), 5).jobs] == [an_id(2)]
        assert len(reader.find(JobFilter(types=("send",)), 5).jobs) == 3
    check_counts(connection)


def test_a_finished_file_may_be_built_on(index: Index) -> None:
    """Where very much is to be read: nothing is lost, and each word is found once."""
    index.apply(failed(1, message="card declined"))
    begin_building(index.connection)
    writer = IndexWriter(index.connection)
    writer.apply([failed(2, message="no account"), failed(1, 2, "dead")], [], {PLACE: 9})
    list(steps_to_finish(index.connection))
    with IndexReader(index.path) as reader:
        found = {words: [job.job_id for job in reader.find(JobFilter(words=words), 5).jobs] for words in ("card", "no")}
    assert found == {"card": [an_id(1)], "no": [an_id(2)]}
    check_counts(index.connection)


def test_a_job_that_the_commits_have_as_ended_is_done_and_what_is_told_later_stands(index: Index) -> None:
    """By the ledger, or by an event that comes late; the minutes count it when it is known."""
    index.apply(enqueued(1), enqueued(2), enqueued(3), enqueued(4), failed(5, 1, "dead"))
    rows = index.writer.open_rows(NO_ROW, 10)
    assert [row.off for row in rows] == [1, 2, 3, 4]
    assert index.writer.open_rows(rows[1], 1) == [rows[2]]
    index.writer.end_committed([row.n for row in rows[:3]])
    assert index.states() == {an_id(n): state for n, state in enumerate(["done", "done", "done", "queued", "dead"], 1)}
    index.apply(done(2))
    index.writer.reconcile({an_id(3): (State.CANCELLED, ENQUEUED_MS + 50)}, {})
    with IndexReader(index.path) as reader:
        jobs = [reader.job(an_id(number)) for number in (1, 2, 3)]
    assert [(job.state.shown, job.known_from) for job in jobs if job] == [
        ("done", "commits"),
        ("done", ""),
        ("cancelled", "ledger"),
    ]
    check_counts(index.connection)
    assert index.connection.execute("SELECT sum(jobs) FROM minutes WHERE state <> 4").fetchone() == (2,)


def test_who_enqueued_a_job_is_known_though_its_end_came_first(index: Index) -> None:
    """A rebuild reads events and records side by side, in any order."""
    index.apply(done(1))
    index.apply(enqueued(1, source="web"))
    with IndexReader(index.path) as reader:
        job = reader.job(an_id(1))
    assert job is not None
    assert (job.state.shown, job.source) == ("done", "web")


def test_no_statement_that_reconciles_scans_the_jobs(index: Index) -> None:
    """They are taken while ten million jobs are there."""
    asked: list[str] = []
    index.apply(enqueued(1), enqueued(2, names=("order-2",)))
    index.connection.set_trace_callback(asked.append)
    index.writer.reconcile({an_id(1): (State.DONE, ENQUEUED_MS), "order-2": (State.DONE, ENQUEUED_MS)}, {})
    index.writer.open_rows(NO_ROW, 5)
    index.writer.end_committed([1])
    index.apply(
        done(1), dispositions=[DispositionEntry(topic="shop.mails.dead", partition=0, offset=5, at_ms=ENQUEUED_MS)]
    )
    index.connection.set_trace_callback(None)
    asked = [statement for statement in asked if statement.startswith(("SELECT", "UPDATE"))]
    assert len(asked) > 4
    for statement in asked:
        plan = [row[3] for row in index.connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in plan if step.startswith(("SCAN j", "SCAN jobs"))], statement
        assert not [step for step in plan if "TEMP B-TREE" in step], statement
