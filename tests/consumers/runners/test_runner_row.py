"""The row of runners: each record goes to the first kind that takes it, and all kinds are asked for all else."""

from __future__ import annotations

from collections.abc import Collection

from stoker.consumers.metrics.runner_metrics import of_kinds
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.runners.kinds import RunnerRow, Runners
from stoker.consumers.runners.slots import Slot
from support.scenes.deliveries import plain_record


class Even(Runners[Slot]):
    """A kind that takes records of even offsets; it runs none."""

    def __init__(self) -> None:
        self.records = list[Record]()
        self.is_started = self.is_interrupted = False
        self.waited = list[tuple[float, bool]]()

    slots = (Slot(), Slot())
    kind = "even"
    size = 2

    @property
    def ready(self) -> int:
        """All that it was given."""
        return len(self.records)

    def own(self, records: list[Record]) -> list[Record]:
        """Those of even offsets."""
        return [record for record in records if record.offset % 2 == 0]

    def start(self) -> None:
        """Note that it was started."""
        self.is_started = True

    def make_ready(self, records: list[Record]) -> None:
        """Keep them."""
        self.records += records

    def waiting_records(self) -> list[Record]:
        """All that it was given."""
        return self.records

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Give up those of the assignments."""
        dropped = [record for record in self.records if record.assignment in assignments]
        self.records = [record for record in self.records if record not in dropped]
        return dropped

    def interrupt(self) -> None:
        """Note that it was interrupted."""
        self.is_interrupted = True

    def wait_ended(self, give_up_at_s: float) -> None:
        """Note until when it was waited for, and whether it was interrupted before."""
        self.waited.append((give_up_at_s, self.is_interrupted))


class Others(Even):
    """A kind that takes what comes; it has failed."""

    crashed = ValueError("broken")
    kind = "others"

    def own(self, records: list[Record]) -> list[Record]:
        """All."""
        return records


class Idle(Even):
    """A kind that the queue has no jobs for."""

    size = 0


def test_a_new_kind_is_seen_in_metrics() -> None:
    """By its own name; one that the queue has no jobs for is left out."""
    row = RunnerRow([Idle(), Even(), Others()])
    seen = [(sample.metric.name, sample.labels, sample.value) for sample in of_kinds("mails", row)]
    assert seen == [
        ("stoker_runners", ("mails", "even"), 2),
        ("stoker_runners_busy", ("mails", "even"), 0),
        ("stoker_runners", ("mails", "others"), 2),
        ("stoker_runners_busy", ("mails", "others"), 0),
    ]


def test_each_record_goes_to_the_first_kind_that_takes_it() -> None:
    """The order of what a kind gets is that in which it became ready."""
    even, others = Even(), Others()
    row = RunnerRow([even, others])
    row.make_ready([plain_record(number) for number in (3, 2, 1, 4)])
    row.make_ready([plain_record(6)])
    assert [record.offset for record in even.records] == [2, 4, 6]
    assert [record.offset for record in others.records] == [3, 1]
    assert row.ready == 5


def test_a_new_kind_is_started_dropped_interrupted_and_looked_at_with_the_others() -> None:
    """A kind that the row forgot would keep a partition's records, or a worker's end waiting."""
    even, others = Even(), Others()
    row = RunnerRow([even, others])
    gone, kept = Assignment(1, "t", 0), Assignment(2, "t", 1)
    row.start()
    row.make_ready([plain_record(number, None, assignment) for number in (1, 2) for assignment in (gone, kept)])
    assert sorted(record.offset for record in row.drop([gone])) == [1, 2]
    assert row.ready == 2
    row.interrupt()
    row.wait_ended(7.0)
    assert even.waited == others.waited == [(7.0, True)]
    assert all(kind.is_started and kind.is_interrupted for kind in (even, others))
    assert row.crashed is others.crashed
    assert (row.of(Others), row.of(Even)) == (others, even)
