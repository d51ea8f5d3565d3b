"""Each event is counted in the pane of its time, and once, however often it is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stoker.operations.statistics.panes import KEEP_S, MOST_BYTES, FoldCounts, PaneName, PartitionFold
from stoker.operations.statistics.reading import MOST_SUMMED, summed
from stoker.operations.statistics.stored import StoredPosition, StoredStatistics
from stoker.operations.statistics.tallies import (
    MOST_FAILURES,
    MOST_TYPES,
    OTHER_TYPES,
    Tally,
    tally_ended,
    tally_event,
)
from stoker.schemas.own_records.job_events import encode_event
from stoker.schemas.own_records.jobs_ended import encode_jobs_ended, packed
from stoker.schemas.own_records.statistics_records import (
    StatisticsPane,
    StatisticsPosition,
    decode_pane,
    encode_pane,
)
from support.sight.statistics import AT, ended, retried, retried_datum

NOW_S = AT.timestamp() + 1


def about(tally: Tally) -> tuple[dict[str, int], float, float]:
    """Counts, and the medians of wait and run."""
    return dict(tally.counts), round(tally.wait.quantile_s(0.5) or 0, 1), round(tally.run.quantile_s(0.5) or 0, 1)


def test_jobs_that_are_done_are_counted_with_wait_and_run() -> None:
    """Those of several types in one event are told apart."""
    tallies = {name: Tally(name) for name in ("send", "bill")}
    tally_ended(ended([0.5] * 3, waits_s=[2.0] * 3), tallies.__getitem__)
    assert about(tallies["send"]) == ({"done": 3}, 2.1, 0.5)
    mixed = ended([0.5, 4.0, 4.0], waits_s=[2.0, 8.0, 8.0], types=["send", "bill"], type_indexes=packed("H", [0, 1, 1]))
    tally_ended(mixed, tallies.__getitem__)
    assert about(tallies["send"]) == ({"done": 4}, 2.1, 0.5)
    assert about(tallies["bill"]) == ({"done": 2}, 8.2, 4.1)


def test_only_the_wait_for_a_first_run_counts() -> None:
    """Not the time between runs, nor since a job was enqueued that a replay has published; all runs count."""
    tally = Tally("send")
    tally_ended(ended([0.5] * 3, waits_s=[2.0, 900.0, 900.0], attempts=packed("I", [1, 2, 3])), lambda _name: tally)
    tally_ended(ended([0.5] * 2, waits_s=[900.0, 900.0], replays=["r", "r"]), lambda _name: tally)
    tally_event(retried_datum(attempt=2), lambda _name: tally)
    assert (tally.wait.count, tally.run.count) == (1, 6)
    tally_event(retried_datum(), lambda _name: tally)
    assert (tally.wait.count, tally.run.count, tally.counts["retried"]) == (2, 7, 2)


def test_failures_are_counted_by_cause() -> None:
    """Beyond a bound, further causes are counted together."""
    tally = Tally("send")
    for number in range(MOST_FAILURES + 5):
        tally_event(retried_datum(fingerprint=f"f{number}"), lambda _name: tally)
        tally_event(retried_datum(fingerprint="f0"), lambda _name: tally)
    assert len(tally.failures) == MOST_FAILURES
    first = tally.failures["f0"]
    assert (first.count, first.error_type, first.message) == (MOST_FAILURES + 6, "Declined", "card declined")
    assert tally.other_failures == 5


class Log:
    """A partition of the events topic, and the topic to which panes are written."""

    def __init__(self, values: list[bytes]) -> None:
        self.values = values
        self.written: dict[PaneName, bytes] = {}

    def count(self, start: int, stop: int, *, is_killed: bool) -> None:
        """What a process does that begins there; if it is killed, what it has not written is gone."""
        fold = PartitionFold(0, self.written, start, FoldCounts())
        for offset in range(start, stop):
            fold.fold(offset, self.values[offset], NOW_S)
        assert fold.next_offset == max(start, stop)
        if not is_killed:
            for _, value in fold.changed(NOW_S):
                pane = decode_pane(value)
                self.written[pane.queue, pane.begins_s] = value

    def totals(self) -> Counter[tuple[int, str]]:
        """{(pane, outcome): how many}."""
        found = Counter[tuple[int, str]]()
        for value in self.written.values():
            pane: StatisticsPane = decode_pane(value)
            for one in pane.types:
                found.update({(pane.begins_s, kind): count for kind, count in one.counts.items()})
        return found


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=8))
def test_nothing_is_counted_twice_or_lost_by_kills(steps: list[tuple[int, int, bool]]) -> None:
    """Each process begins at or before the last snapshot, where offsets were committed, and may be killed any time."""
    events = [
        encode_jobs_ended(ended([0.1] * (number + 1), AT + timedelta(seconds=7 * (number % 3)))) for number in range(9)
    ]
    events.insert(4, encode_event(retried()))
    undisturbed, log = Log(events), Log(events)
    undisturbed.count(0, 10, is_killed=False)
    snapshot = 0
    for back, ahead, is_killed in steps:
        start = max(snapshot - back, 0)
        stop = min(start + ahead, 10)
        log.count(start, stop, is_killed=is_killed)
        snapshot = snapshot if is_killed else max(stop, snapshot)
    log.count(snapshot, 10, is_killed=False)
    assert log.totals() == undisturbed.totals()
    assert sum(log.totals().values()) == sum(range(1, 10)) + 1


def test_what_is_too_old_or_not_understood_is_passed_over_and_counted() -> None:
    """A clock that is far ahead makes no pane that would stay for ever."""
    counts = FoldCounts()
    fold = PartitionFold(0, {}, 0, counts)
    for number, value in enumerate(
        (
            encode_jobs_ended(ended([0.1], AT - timedelta(seconds=KEEP_S))),
            encode_jobs_ended(ended([0.1], AT + timedelta(hours=1))),
            b"nonsense",
            None,
            encode_jobs_ended(ended([0.1])),
        )
    ):
        fold.fold(number, value, NOW_S)
    assert (counts.outside, counts.unreadable, counts.jobs, counts.events) == (2, 2, 1, 5)
    assert len(fold.changed(NOW_S)) == 1
    assert fold.changed(NOW_S) == []


def test_a_run_of_impossible_length_ends_nothing() -> None:
    """The next event is counted; an error would end the process, again at each start, since none goes beyond it."""
    counts = FoldCounts()
    fold = PartitionFold(0, {}, 0, counts)
    fold.fold(0, encode_jobs_ended(ended([0.1], began_s=packed("d", [-1e300]))), NOW_S)
    fold.fold(1, encode_jobs_ended(ended([0.1])), NOW_S)
    assert (fold.next_offset, counts.unreadable, counts.jobs) == (2, 1, 1)
    ((_, value),) = fold.changed(NOW_S)
    assert sum(one.counts.get("done", 0) for one in decode_pane(value).types) == 1


def test_types_beyond_a_bound_are_counted_together() -> None:
    """A publisher that puts ids into the names of types makes a new one with each job."""
    fold = PartitionFold(0, {}, 0, FoldCounts())
    for number in range(MOST_TYPES + 5):
        fold.fold(number, encode_event(retried(job_type=f"send-{number}")), NOW_S)
    ((_, value),) = fold.changed(NOW_S)
    types = {one.job_type: one.counts for one in decode_pane(value).types}
    assert (len(types), types[OTHER_TYPES]) == (MOST_TYPES + 1, {"retried": 5})


def test_a_pane_always_fits_its_record() -> None:
    """A larger one would be refused by the brokers for ever, and no process would come past its events."""
    fold, runs_s = PartitionFold(0, {}, 0, FoldCounts()), [2.0 ** (step / 16) for step in range(-300, 300)]
    for number in range(MOST_TYPES):
        fold.fold(number, encode_jobs_ended(ended(runs_s, types=[f"send-{number}"])), NOW_S)
    fold.fold(MOST_TYPES, encode_jobs_ended(ended([1.0, *runs_s], types=["busy"])), NOW_S)
    ((_, value),) = fold.changed(NOW_S)
    assert len(value) <= MOST_BYTES
    types = {one.job_type: one.counts["done"] for one in decode_pane(value).types}
    assert sum(types.values()) == (MOST_TYPES + 1) * len(runs_s) + 1


def test_figures_of_many_types_are_bounded_where_panes_are_summed() -> None:
    """Each pane may have other types, and an hour has a great many panes."""
    begins_s = int(AT.timestamp() // 10) * 10
    panes = {}
    for number in range(MOST_SUMMED // MOST_TYPES + 1):
        fold = PartitionFold(0, {}, 0, FoldCounts())
        for offset in range(MOST_TYPES):
            fold.fold(offset, encode_event(retried(job_type=f"send-{number}-{offset}")), NOW_S)
        ((_, value),) = fold.changed(NOW_S)
        panes[f"mails-{number}", begins_s] = encode_pane(replace(decode_pane(value), queue="mails"))
    found = summed(StoredStatistics(panes={0: panes}, positions={0: position(AT)}), timedelta(minutes=1), NOW_S)
    types = {one.job_type: one.tally.counts["retried"] for one in found.types}
    assert (len(types), types[OTHER_TYPES]) == (MOST_SUMMED + 1, MOST_TYPES)
    assert found.by_queue()["mails"].tally.counts["retried"] == MOST_SUMMED + MOST_TYPES


def test_partitions_that_went_on_after_another_one_was_left_are_summed_up_to_that() -> None:
    """Rates are over the time up to the last snapshot of all: more panes than those would multiply them."""
    panes = {}
    for offset, minutes in enumerate(range(30)):
        fold = PartitionFold(0, {}, 0, FoldCounts())
        fold.fold(offset, encode_jobs_ended(ended([0.1] * 60, AT + timedelta(minutes=minutes))), NOW_S + minutes * 60)
        ((_, value),) = fold.changed(NOW_S)
        panes["mails", decode_pane(value).begins_s] = value
    positions = {0: position(AT + timedelta(minutes=30)), 1: position(AT + timedelta(seconds=1))}
    found = summed(StoredStatistics(panes={0: panes}, positions=positions), timedelta(minutes=1), NOW_S + 1_800)
    assert [(one.tally.counts["done"], round(one.done_per_s)) for one in found.types] == [(60, 1)]


def position(written: datetime) -> StoredPosition:
    """How far a partition is, as it was written then."""
    made = StatisticsPosition(partition=0, offset=1, behind=0, at=written, process="h/1")
    return StoredPosition(position=made, written=written)
