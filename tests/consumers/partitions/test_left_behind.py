"""What a worker cannot read of what its predecessors have left behind is reported, and what it means for jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from simulation.brokers import SimBrokers
from simulation.clients import SimConsumer
from simulation.virtual_time import CLOCK
from stoker.consumers import log_keys
from stoker.consumers.partitions import ledger_reader, restore
from stoker.consumers.partitions.ledger import Ledger, moved_name, tried_name
from stoker.consumers.partitions.ledger_records import batch_record, entry_record, names_of
from stoker.consumers.partitions.restore import Restored, read_left_behind
from stoker.consumers.partitions.start_positions import StartPosition, StartPositions
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.progress.offset_set import OffsetSet
from stoker.topology import Queue
from stoker.topology.declaration.queue import LedgerWindow
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.scenes.deliveries import NOW, declare

pytestmark = pytest.mark.usefixtures("simulated_time")
STATE = CommitMetadata(committed_offset=5, position=9, incomplete=((5, 6),), is_open=False)


def left_behind(brokers: SimBrokers, queue: Queue) -> tuple[Restored, Assignment]:
    """What is read of partition 0, by a worker that gets the main topic's."""
    assignment = Assignment(1, queue.topic, 0)
    consumer = cast(Any, SimConsumer(brokers, cast(Any, None)))
    (restored,) = read_left_behind(consumer, queue, [assignment], lambda: False)
    return restored, assignment


@pytest.mark.parametrize(
    ("a_read_takes_s", "handed_over"), [(0.0, [{0, 1, 2}]), (0.15, [{0, 1}, {2}]), (1.0, [{0}, {1}, {2}])]
)
def test_a_partition_begins_before_the_ledgers_of_others_are_read(
    a_read_takes_s: float, handed_over: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ledgers take long to read, the first jobs do not wait for what others left behind."""
    queue, brokers = declare().queue, SimBrokers(4_096)
    read: list[int] = []

    def read_slowly(_consumer: object, _queue: Queue, partition: int, *_others: object) -> Ledger:
        read.append(partition)
        CLOCK.advance(a_read_takes_s)
        return Ledger(queue.ledger, CLOCK.time)

    def find_and_note(positions: StartPositions, number: int) -> dict[Assignment, StartPosition]:
        begun.append(number)
        return find(positions, number)

    begun: list[int] = []
    find = StartPositions.of
    monkeypatch.setattr(StartPositions, "of", find_and_note)
    monkeypatch.setattr(restore, "read_ledger", read_slowly)
    consumer = cast(Any, SimConsumer(brokers, cast(Any, None)))
    assignments = [Assignment(number + 1, queue.topic, number) for number in (2, 0, 1)]
    found: list[set[int]] = []
    for restored in restore.read_left_behind(consumer, queue, assignments, lambda: False):
        assert set(read) == set(begun) == set().union(*found, restored.ledgers), "nothing of others is read ahead"
        assert {assignment.partition for assignment in restored.start_positions} == set(restored.ledgers)
        found.append(set(restored.ledgers))
    assert found == handed_over


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was told."""
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("", "is empty: no worker has committed it"),
        ("somebody else's", "is none of a worker of this version"),
        ("stoker2:AAAA", "is none of a worker of this version"),
        ((STATE.encode() or "")[:-4], "is damaged"),
        (
            CommitMetadata(committed_offset=3, position=9).encode(),
            "is that of offset 3: somebody has set the offset to 5",
        ),
    ],
)
def test_metadata_that_cannot_be_used_is_reported(metadata: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Which partition, why, and that what was done beyond the offset comes again."""
    queue, brokers = declare().queue, SimBrokers(4_096)
    brokers.logs[queue.topic, 0].high = 9
    brokers.committed[queue.topic, 0] = (5, metadata)
    restored, assignment = left_behind(brokers, queue)
    assert restored.start_positions[assignment].state == CommitMetadata(committed_offset=5, position=5)
    (warning,) = warnings(caplog)
    assert f"{queue.topic}/0: the metadata of the committed offset 5 {said}" in warning.getMessage()
    assert "come again" in warning.getMessage()
    assert (vars(warning)[log_keys.QUEUE], vars(warning)[log_keys.PARTITIONS]) == ("q", [0])


def test_metadata_of_a_worker_and_a_first_start_are_nothing_to_report(caplog: pytest.LogCaptureFixture) -> None:
    """Both are as usual."""
    queue, brokers = declare().queue, SimBrokers(4_096)
    left_behind(brokers, queue)
    brokers.logs[queue.topic, 0].high = 9
    brokers.committed[queue.topic, 0] = (5, STATE.encode() or "")
    restored, assignment = left_behind(brokers, queue)
    assert (restored.start_positions[assignment].incomplete or OffsetSet()).runs() == [(5, 6)]
    assert warnings(caplog) == []


def test_batches_of_the_ledger_that_cannot_be_read_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Each may name 500 completed jobs, which would run again; all else of the ledger is taken up."""
    delivery, brokers = declare(), SimBrokers(4_096)
    queue = delivery.queue
    key, value = batch_record(["lost"], NOW)
    for record in (
        batch_record(["first"], NOW),
        (key, value[:-3]),
        (key, b"\xc3\x01" + b"?" * 8 + value[10:]),  # of another version
        entry_record("batch: a job's own name", "cancelled", NOW),
        batch_record(["last"], NOW),
    ):
        brokers.append(queue.ledger_topic, 0, *record, [])
    restored, _ = left_behind(brokers, queue)
    names = ("first", "batch: a job's own name", "last", "lost", key.decode())
    known = [n for n in names if restored.ledgers[0].remembers(delivery.record({"ce_id": n.encode()}))]
    assert known == ["first", "batch: a job's own name", "last"]
    (warning,) = warnings(caplog)
    assert f"{queue.ledger_topic}/0: 2 batches cannot be read, the first at offset 1" in warning.getMessage()
    assert vars(warning)[log_keys.COUNT] == 2


@pytest.mark.parametrize(
    ("window", "others", "read"), [(2_000, 0, 2_000), (2_004, 0, 3_000), (100, 0, 500), (100, 1_000, 2_000)]
)
def test_a_ledger_is_read_back_until_its_window_is_full(window: int, others: int, read: int) -> None:
    """500 records at first, and four times as many while they hold fewer completed jobs than the window takes: what
    moved on does not count, and no restart reads a whole topic for the last few jobs."""
    delivery, brokers = declare(ledger=LedgerWindow(jobs=window)), SimBrokers(4_096)
    for number in range(3_000 - others):
        brokers.append(delivery.queue.ledger_topic, 0, *entry_record(f"job-{number}", "cancelled", NOW), [])
    for number in range(others):
        brokers.append(delivery.queue.ledger_topic, 0, *entry_record(f"moved:{number}@t/0/1", "moved", NOW), [])
    restored, _ = left_behind(brokers, delivery.queue)
    oldest = 3_000 - read
    known = restored.ledgers[0].remembers(delivery.record({"ce_id": b"job-%d" % (2_999 - others)}))
    assert known
    assert restored.ledgers[0].jobs >= min(window, read - others)
    consumed = brokers.read_from[delivery.queue.ledger_topic, 0]
    assert min(consumed) == oldest


def test_a_ledger_is_read_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer stretch leaves out what a shorter one has brought: a million names take long enough."""
    taken: list[bytes] = []

    def counted(key: bytes, value: bytes) -> Sequence[str]:
        taken.append(key)
        return names_of(key, value)

    monkeypatch.setattr(ledger_reader, "names_of", counted)
    delivery, brokers = declare(), SimBrokers(4_096)
    for number in range(3_000):
        brokers.append(delivery.queue.ledger_topic, 0, *entry_record(f"moved:{number}@t/0/1", "moved", NOW), [])
    left_behind(brokers, delivery.queue)
    assert sorted(taken) == sorted({f"moved:{number}@t/0/1".encode() for number in range(3_000)})


def test_names_of_records_that_are_complete_take_no_memory() -> None:
    """A million delayed jobs leave as many such names; of them 8 bytes each are left for a partition begun anew.

    Offset 6 is complete by the commit, 5 is not, and an attempt may have failed in other records as well.
    """
    delivery, brokers = declare(), SimBrokers(4_096)
    queue = delivery.queue
    brokers.logs[queue.topic, 0].high = 9
    brokers.committed[queue.topic, 0] = (5, STATE.encode() or "")
    moved, left, twin = (delivery.record({"ce_id": b"%d" % offset}, offset=offset) for offset in (6, 5, 7))
    names = [moved_name(moved), moved_name(left), tried_name(twin)]
    brokers.append(queue.ledger_topic, 0, *batch_record(names, NOW), [])
    restored, assignment = left_behind(brokers, queue)
    ledger = restored.ledgers[0]
    assert [ledger.remembers(record) for record in (moved, left, twin)] == [False, True, True]
    assignment.note_restored(STATE)
    anew = Assignment(2, queue.topic, 0)
    anew.replace(assignment)
    again = [delivery.record({"ce_id": b"%d" % offset}, offset=offset, assignment=anew) for offset in (6, 8)]
    assert [ledger.remembers(record) for record in again] == [True, False]
