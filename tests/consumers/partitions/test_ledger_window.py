"""The ledger remembers a window of names bounded by count and age, and never fewer than guaranteed."""

from __future__ import annotations

import threading
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.partitions import name_window
from stoker.consumers.partitions.ledger import Ledger, moved_name, tried_name
from stoker.consumers.partitions.name_window import MOST_OLDER, NameWindow
from stoker.consumers.records.record import Record
from stoker.topology.declaration.queue import LedgerWindow
from support.scenes.deliveries import declare


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def window(jobs: int = 100, age_s: float = 3_600, clock: Clock | None = None) -> NameWindow:
    """An empty window."""
    return NameWindow(LedgerWindow(jobs=jobs, age=timedelta(seconds=age_s)), clock or Clock())


def ledger(jobs: int = 100) -> Ledger:
    """An empty ledger."""
    return Ledger(LedgerWindow(jobs=jobs), Clock())


@given(st.integers(1, 50), st.integers(0, 300))
def test_the_last_jobs_of_the_window_are_remembered_and_memory_is_bounded(jobs: int, completed: int) -> None:
    """Of many completions the last `jobs` are all there, and a quarter more at the most (5 for tiny windows)."""
    remembered = window(jobs)
    for number in range(completed):
        remembered.add(f"job-{number}")
    for number in range(max(0, completed - jobs), completed):
        assert f"job-{number}" in remembered
    assert len(remembered) <= jobs + max(5, jobs // 4 + 4)


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=60))
def test_a_name_is_forgotten_by_number_or_by_age_whichever_comes_first(jobs: int, steps: list[tuple[int, int]]) -> None:
    """Of names that come in bursts and after quiet times: while an age of 100 s and the window's number allow it."""
    clock, completed = Clock(), list[float]()
    remembered = window(jobs, age_s=100, clock=clock)
    for burst, quiet_s in steps:
        for _ in range(burst):
            remembered.add(f"job-{len(completed)}")
            completed.append(clock.now_s)
        clock.now_s += quiet_s
        remembered.forget_old()
        for number in range(max(0, len(completed) - jobs), len(completed)):
            if clock.now_s - completed[number] < 100:
                assert f"job-{number}" in remembered
        assert len(remembered) <= jobs + max(8, jobs // 2 + 8)
        assert len(remembered._older) <= MOST_OLDER


@given(st.integers(1, 40), st.integers(0, 120), st.integers(0, 120), st.integers(0, 60))
def test_names_that_another_window_had_push_out_none_that_are_here(
    jobs: int, before: int, since: int, unwritten: int
) -> None:
    """A partition comes back: its former window has older names than the topic gave, and some that nobody wrote."""
    former, restored = window(jobs), window(jobs)
    names = [f"job-{number}" for number in range(before + since)]
    for name in names[:before]:
        former.add(name)
    for name in [f"unwritten-{number}" for number in range(unwritten)]:
        former.add(name)
    for name in names[-jobs:]:
        restored.add(name)
    restored.absorb(former)
    assert all(name in restored for name in names[-jobs:])
    if unwritten <= jobs // 4:  # the former window may hold so many older names in the same generation
        assert all(f"unwritten-{number}" in restored for number in range(unwritten))


def test_a_name_is_found_while_generations_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of a runner that has read the marks of a name, and reads the generations after another thread's change."""
    here = window(jobs=40)
    for number in range(MOST_OLDER):
        former = window(jobs=40)
        former.add(f"former-{number}")
        here.absorb(former)
    look = name_window._is_in

    def look_late(*seen: Any) -> bool:
        monkeypatch.setattr(name_window, "_is_in", look)
        former = window(jobs=40)
        former.add("one more")
        here.absorb(former)
        return look(*seen)

    for number in range(MOST_OLDER):
        monkeypatch.setattr(name_window, "_is_in", look_late)
        assert f"former-{number}" in here
        assert f"former-{number}" in here


def test_what_is_taken_over_is_followed_by_later_names_alone() -> None:
    """Names that were here before count for none of those that came to it."""
    here, former = window(jobs=100), window(jobs=100)
    for number in range(24):
        here.add(f"before-{number}")
    former.add("taken over")
    here.absorb(former)
    for number in range(99):
        here.add(f"after-{number}")
        assert "taken over" in here


def test_windows_that_are_taken_over_again_and_again_do_not_grow() -> None:
    """A partition that moves to and fro, while jobs of it go on."""
    here = window(jobs=100)
    for number in range(60):
        back = window(jobs=100)
        for recent in range(max(0, number * 10 - 100), number * 10 + 10):
            back.add(f"job-{recent}")
        back.absorb(here)
        here = back
        assert len(here) <= 240
        assert len(here._older) <= MOST_OLDER


def test_jobs_of_a_burst_outlive_a_quiet_night() -> None:
    """An evening's burst, a job every six hours, a morning's burst: only a quarter of the number has followed."""
    clock = Clock()
    remembered = window(jobs=100, age_s=24 * 3_600, clock=clock)
    remembered.add_all(f"evening-{number}" for number in range(25))
    for hours in (6, 12, 18):
        clock.now_s += 6 * 3_600
        remembered.add(f"night-{hours}")
        remembered.forget_old()
    remembered.add_all(f"morning-{number}" for number in range(25))
    assert "evening-0" in remembered


def test_names_older_than_the_age_are_forgotten_and_younger_ones_are_not() -> None:
    """With an age of 100 s: after 100 s still there, after 100 s and the generation's quarter gone."""
    clock = Clock()
    remembered = window(age_s=100, clock=clock)
    remembered.add("old")
    for _ in range(99):
        clock.now_s += 1
        remembered.forget_old()
        assert "old" in remembered
    remembered.add("young")
    for _ in range(27):
        clock.now_s += 1
        remembered.forget_old()
    assert "old" not in remembered
    assert "young" in remembered


def test_restored_names_that_are_too_old_are_passed_over() -> None:
    """The topic may hold more than the window; its age counts from the completion."""
    clock = Clock()
    remembered = window(age_s=100, clock=clock)
    remembered.add_former("too old", clock.now_s - 101)
    remembered.add_former("recent", clock.now_s - 99)
    assert "too old" not in remembered
    assert "recent" in remembered


def test_a_restored_name_is_forgotten_by_its_own_age() -> None:
    """A name that was 90 of 100 s old when it was restored is gone some 10 s (and a quarter) later."""
    clock = Clock()
    remembered = window(age_s=100, clock=clock)
    remembered.add_former("aged", clock.now_s - 90)
    for _ in range(36):
        clock.now_s += 1
        remembered.forget_old()
    assert "aged" not in remembered


def test_no_name_is_lost_while_threads_remember_at_once() -> None:
    """8 threads of 500 names each, in a window that holds them all."""
    remembered = window(jobs=8_000)

    def remember(thread: int) -> None:
        for number in range(500):
            remembered.add(f"{thread}-{number}")
            assert f"{thread}-{number}" in remembered

    workers = [threading.Thread(target=remember, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(f"{thread}-{number}" in remembered for thread in range(8) for number in range(500))


def test_a_record_that_moved_on_is_settled_but_its_job_is_not() -> None:
    """After a restart the source of a retry is skipped; the retry itself, another record of the job, runs."""
    delivery, remembered = declare(), ledger()
    source = delivery.record(offset=7)
    remembered.add(moved_name(source))
    assert remembered.remembers(source)
    assert not remembered.remembers(delivery.record(offset=8))


def test_the_twin_of_a_failed_attempt_is_settled_and_the_next_attempt_is_not() -> None:
    """Two records of attempt 2, as a crash leaves them: when one has failed, the other has nothing left to do."""
    remembered = ledger()
    origin = {"stoker-origin": b"unit.q/0/7"}
    tried = declare().record({**origin, "stoker-attempt": b"2"}, offset=1)
    remembered.add(tried_name(tried))
    assert remembered.remembers(declare().record({**origin, "stoker-attempt": b"2"}, offset=2))
    assert not remembered.remembers(declare().record({**origin, "stoker-attempt": b"3"}, offset=3))
    assert not remembered.remembers(declare().record({"stoker-origin": b"unit.q/0/8", "stoker-attempt": b"2"}))


def test_a_failed_attempt_is_remembered_beyond_its_assignment_once_its_record_is_complete() -> None:
    """Else nothing was written of it: where its tier goes away and comes back alone, the job comes again, and runs."""
    delivery, remembered = declare(), ledger()
    assignment = delivery.record().assignment
    records = [
        delivery.record({"ce_id": b"job-%d" % offset}, offset=offset, assignment=assignment) for offset in range(2)
    ]
    for record in records:
        assignment.progress.note_delivered(record.offset)
        remembered.add_failed(record)
    assignment.progress.complete(0)
    remembered.forget_old()
    assert [remembered.remembers(record) for record in records] == [True, True]
    assignment.leave()
    assignment.end()
    assert [remembered.remembers(record) for record in records] == [True, False]
    remembered.forget_old()
    assert [remembered.remembers(record) for record in records] == [True, False]
    assert not remembered._failed


def test_an_empty_origin_does_not_make_records_without_an_id_alike() -> None:
    """A foreign publisher may send both: the second such record is no twin of the first, and a dead letter as well."""
    nameless, remembered = {"ce_id": b"", "stoker-origin": b""}, ledger()
    remembered.add(tried_name(declare().record(nameless, offset=1)))
    assert remembered.remembers(declare().record(nameless, offset=1))
    assert not remembered.remembers(declare().record(nameless, offset=2))


def test_a_partition_that_comes_back_takes_over_completed_jobs_but_not_moved_records() -> None:
    """What ran here is done though its entry is unwritten; a retry that was not published in time is done again."""
    former, restored = ledger(), ledger()
    retried = declare().record({"ce_id": b"job-2"}, offset=1)
    former.add("job-1")
    former.add(tried_name(retried))
    restored.absorb_jobs(former)
    assert restored.remembers(declare().record())
    assert not restored.remembers(retried)


def test_many_retries_do_not_push_completed_jobs_out() -> None:
    """Moved names have a window of their own."""
    remembered = ledger(jobs=10)
    remembered.add("job-1")
    for offset in range(1_000):
        remembered.add(moved_name(declare().record(offset=offset)))
    assert remembered.remembers(declare().record())


def test_a_topic_made_anew_does_not_confuse_its_offsets() -> None:
    """The same offset of another job is another record."""
    delivery, remembered = declare(), ledger()
    remembered.add(moved_name(delivery.record(offset=7)))
    assert not remembered.remembers(delivery.record({"ce_id": b"another"}, offset=7))


def _named(**headers: bytes) -> Record:
    return declare().record({name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (_named(), "job-1"),
        (_named(stoker_idempotency_key=b"order-5"), "order-5"),
        (_named(stoker_replay=b"r1"), "r1:job-1"),
        (_named(stoker_replay=b"r1", stoker_idempotency_key=b"order-5"), "r1:order-5"),
        (_named(stoker_idempotency_key=b""), "job-1"),
        (declare().record({"ce_id": b""}), None),
        (declare().record({"ce_id": b"\xff"}), "\\xff"),
    ],
)
def test_a_record_is_named_by_idempotency_key_else_id_under_its_replay(record: Record, name: str | None) -> None:
    """The name under which the ledger knows a job."""
    assert record.deduplication_id == name


def test_a_record_without_a_name_is_never_settled() -> None:
    """It has nothing to be recognised by, so it runs each time."""
    assert not ledger().remembers(declare().record({"ce_id": b""}))


def test_names_take_little_memory() -> None:
    """A window of them is there for every partition, and one of what has moved on."""
    kept = ledger(jobs=20_000)
    tracemalloc.start()
    try:
        for number in range(20_000):
            kept.add(f"moved:{number:036}@shop.mails/0/{number}")
            kept.add_job(f"{number:036}")
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken_bytes / 40_000 < 40


def test_of_many_names_each_is_held_and_no_other() -> None:
    """All generations have names, the oldest has none left, and others meet their marks by the hundred."""
    remembered = window(jobs=4_000)
    remembered.add_all(f"job-{number}" for number in range(9_500))
    assert all(f"job-{number}" in remembered for number in range(5_000, 9_500))
    assert not any(f"job-{number}" in remembered for number in range(4_000))
    assert not any(f"other-{number}" in remembered for number in range(20_000))
