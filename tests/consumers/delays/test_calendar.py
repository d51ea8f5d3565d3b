"""`Calendar`: delayed records come out when they are due, whatever of them is in memory, and in little of it."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.delays.calendar import Calendar
from stoker.consumers.delays.cancelled_delays import CancelledDelays
from stoker.consumers.delays.delay_sweep import DelaySweep
from stoker.consumers.delays.known_offsets import TICK_BITS
from stoker.consumers.delays.packed_records import packed_record
from stoker.consumers.delays.records_in_memory import RecordsInMemory
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import Delay
from stoker.consumers.standing_orders.cancel_filters import CancelFilter
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.topology.declaration.delays import DelayClass
from stoker.topology.wire.headers import DUE, format_instant
from support.scenes.deliveries import NOW, NOW_S

MONTH_S: Final = 30 * 86_400.0
SECOND_S, HOUR_S = 1.025, 4_194.304
"""The calendar's own."""
RECORD_BYTES: Final = 300
"""What a record of these tests weighs in memory, and a little more."""


class Log:
    """A partition, the calendar of its worker, and what reads again for it."""

    def __init__(self, budget_bytes: int = 1_000_000, number: int = 1) -> None:
        self.place = Assignment(number, f"delays-{number}", 0, source=Delay(DelayClass.SHORT))
        self.messages: list[Message] = []
        self.calendar = Calendar(MONTH_S, budget_bytes)
        self.calendar.pop_due(NOW_S, 0)
        self.was_read_again = 0

    def write(self, *due_in_s: float) -> None:
        """Add records that are due so long after `NOW`, and have the calendar take them."""
        for due_s in due_in_s:
            headers = [("ce_id", b"job"), (DUE, format_instant(NOW + timedelta(seconds=due_s)))]
            message = Message(
                topic=self.place.topic,
                partition=0,
                offset=len(self.messages),
                key=b"k",
                value=b"v" * 20,
                headers=headers,  # type: ignore[arg-type]  # the stub's list is invariant
                timestamp=(2, int(NOW_S * 1_000)),
            )
            self.messages.append(message)
            self.calendar.add(message, self.place)

    def read_again(self) -> None:
        """Bring what the calendar wants by now."""
        while wanted := self.calendar.take_wanted():
            for assignment, offsets in wanted.items():
                for offset in offsets:
                    self.was_read_again += 1
                    assert self.calendar.take_reread(assignment, self.messages[offset])

    def run(self, until_at_s: float, step_s: float, limit: int = 1_000) -> Iterator[tuple[float, Record]]:
        """Let time pass, and give what comes out, with the time in seconds after `NOW`."""
        for step in range(int(until_at_s / step_s) + 1):
            due = None
            while due is None or due:
                self.read_again()
                due = self.calendar.pop_due(NOW_S + step * step_s, limit)
                yield from ((step * step_s, record) for record in due)


def due_in_s(record: Record) -> float:
    """When a record is due, in seconds after `NOW`."""
    value = record.header(DUE)
    assert value is not None
    return (datetime.fromisoformat(value.decode()) - NOW).total_seconds()


def offsets(records: Iterable[Record]) -> list[int]:
    """Where they stand."""
    return [record.offset for record in records]


@given(st.lists(st.integers(0, 20_000_000), max_size=60), st.integers(1, 20), st.sampled_from([1, 700, 100_000]))
def test_everything_comes_out_once_in_time_and_never_early(due_ms: list[int], records: int, spread: int) -> None:
    """Against the due times themselves: nothing early, each once, and late by the step and the calendar's tick."""
    log = Log(budget_bytes=records * RECORD_BYTES)
    due_s = [milliseconds * spread / 1e6 for milliseconds in due_ms]
    log.write(*due_s)
    assert len(log.calendar) == len(due_s)
    step_s = max(0.5, max(due_s, default=0) / 200)
    came = list(log.run(max(due_s, default=0) + 2 * step_s + SECOND_S, step_s))
    assert sorted(offsets(record for _, record in came)) == list(range(len(due_s)))
    for at_s, record in came:
        assert due_in_s(record) <= at_s < due_in_s(record) + step_s + SECOND_S
    assert (len(log.calendar), log.calendar.in_memory, log.calendar._memory.used_bytes) == (0, 0, 0)


def test_records_come_out_in_the_order_of_their_due_times() -> None:
    """Whatever the order in which they were written, and no more at a time than was asked for."""
    log = Log()
    log.write(5.0, 1.0, 3.0, 1.5, 2.0)
    assert offsets(log.calendar.pop_due(NOW_S + 10, 2)) == [1, 3]
    assert offsets(log.calendar.pop_due(NOW_S + 10, 9)) == [4, 2, 0]


def test_a_record_that_comes_late_goes_ahead_of_those_that_are_due_later() -> None:
    """Also where its tick has begun already."""
    log = Log()
    log.write(0.9)
    assert not log.calendar.pop_due(NOW_S + 0.1, 9)
    log.write(0.2)
    assert log.calendar.next_due_at_s == pytest.approx(NOW_S + 0.2, abs=0.01)
    assert offsets(log.calendar.pop_due(NOW_S + 0.3, 9)) == [1]


def test_nothing_is_read_again_while_all_fits_into_memory() -> None:
    """A few delayed jobs cost no second reading."""
    log = Log()
    log.write(*range(100))
    assert len(list(log.run(100, 1))) == 100
    assert log.was_read_again == 0


def test_the_next_records_are_read_again_when_half_of_the_budget_is_free() -> None:
    """Of 1,000 records some 20 fit: each is read again once at the most, and all come out in time."""
    log = Log(budget_bytes=20 * RECORD_BYTES)
    log.write(*range(1_000, 0, -1))
    assert log.calendar.in_memory <= 25
    for at_s, record in log.run(1_001, 0.5):
        assert due_in_s(record) <= at_s <= due_in_s(record) + 0.5
        assert log.calendar.in_memory <= 25
    assert len(log.calendar) == 0
    assert 900 <= log.was_read_again <= 1_000


def test_what_is_late_is_wanted_at_once_however_little_of_it_fits_into_memory() -> None:
    """Where runners take what comes faster than a sweep brings it, one sweep brings all that is late, and no more."""
    log = Log(budget_bytes=20 * RECORD_BYTES)
    log.write(*([0.1 * number for number in range(1_000)]), *([900.0] * 50))
    while log.calendar.pop_due(NOW_S + 100, 1_000):
        pass
    wanted = len(log.calendar.take_wanted()[log.place])
    assert wanted >= 900
    assert not log.calendar.take_wanted()
    assert len(log.calendar) - wanted == 50


def test_what_comes_late_does_not_fill_more_than_its_memory() -> None:
    """Where runners take little, what does not fit is known by its offset again, and comes once there is room."""
    log = Log(budget_bytes=20 * RECORD_BYTES)
    log.write(*[110.0] * 60, *[0.1 * number for number in range(1_000)])
    while log.calendar.pop_due(NOW_S + 100, 1_000):
        pass
    left = len(log.calendar)
    came = list[Record]()
    while len(came) < left:
        for assignment, offsets_wanted in log.calendar.take_wanted().items():
            for offset in sorted(offsets_wanted):
                assert log.calendar.take_reread(assignment, log.messages[offset])
                assert log.calendar.in_memory <= 25
        came += log.calendar.pop_due(NOW_S + (100 if len(came) < left - 60 else 120), 3)
    assert len({record.offset for record in came}) == left
    assert len(log.calendar) == 0


def test_a_tick_that_is_larger_than_the_budget_is_taken_in_parts() -> None:
    """In the order of the log, so that a sweep over it brings them."""
    log = Log(budget_bytes=20 * RECORD_BYTES)
    log.write(*[5.0] * 200)
    came = list(log.run(12, 0.1))
    assert offsets(record for _, record in came) == list(range(200))
    assert log.calendar.in_memory == 0


def test_what_is_overdue_stays_within_the_budget() -> None:
    """After an outage all may be due at once."""
    log = Log(budget_bytes=20 * RECORD_BYTES)
    log.write(*[-float(number) for number in range(500)])
    assert log.calendar.in_memory <= 25
    assert len(list(log.run(100, 1))) == 500


def test_what_is_due_much_later_goes_from_spans_to_ticks() -> None:
    """Records of three days, of which few fit into memory."""
    log = Log(budget_bytes=5 * RECORD_BYTES)
    rest = random.Random(1)
    log.write(*[rest.random() * 60 * HOUR_S for _ in range(300)])
    for at_s, record in log.run(61 * HOUR_S, 10):
        assert due_in_s(record) <= at_s < due_in_s(record) + 11
    assert len(log.calendar) == 0


def test_records_of_partitions_that_went_away_are_forgotten() -> None:
    """In memory, by offset, and those that are coming; the others stay."""
    log = Log(budget_bytes=10 * RECORD_BYTES)
    other = Log(number=2)
    other.calendar = log.calendar
    for second in range(50):
        log.write(float(second))
        other.write(second + 2 * HOUR_S * (second % 2))
    log.calendar.pop_due(NOW_S + 9, 9)
    wanted = log.calendar.take_wanted()
    assert wanted
    log.calendar.drop([other.place])
    places = list(log.calendar.places())
    assert {assignment for assignment, _ in places} == {log.place}
    assert len(places) == len(log.calendar)
    assert not log.calendar.take_reread(other.place, other.messages[0])


def test_a_record_that_is_gone_is_waited_for_no_more() -> None:
    """Retention has taken it."""
    log = Log(budget_bytes=2 * RECORD_BYTES)
    log.write(*range(20))
    while len(log.calendar) > 0:
        log.calendar.pop_due(NOW_S + 30, 9)
        for assignment, gone in log.calendar.take_wanted().items():
            for offset in gone:
                log.calendar.note_gone(assignment, offset)
    assert not log.calendar.take_reread(log.place, log.messages[19])


def test_a_record_comes_out_as_it_was_written() -> None:
    """With its key, value, headers, offset and timestamp, also without any of these."""
    log = Log()
    bare = Message(topic="t", partition=0, offset=1, key=None, value=None, headers=[], timestamp=(2, 1_000))
    log.calendar.add(bare, log.place)
    log.write(0.0)
    first, second = log.calendar.pop_due(NOW_S + 1, 9)
    assert (first.offset, first.key, first.value, first.headers, first.timestamp_ms) == (1, None, None, {}, 1_000)
    assert str(second) == str(Record(log.messages[0], log.place))
    assert (second.key, second.value, second.pairs) == (b"k", b"v" * 20, log.messages[0].headers())


def test_it_finds_what_waits() -> None:
    """By its place, in memory or not, and by its lane, as long as it is in memory."""
    log = Log(budget_bytes=5 * RECORD_BYTES)
    log.write(*range(1, 21))
    log.place.in_flight = 1
    assert all(log.calendar.holds(log.place, offset) for offset in range(20))
    assert not log.calendar.holds(log.place, 20)
    found = log.calendar.find(b"k")
    assert found is not None
    assert found[0].lane == b"k"
    assert found[1] == pytest.approx(NOW_S + 1, abs=0.01)
    assert log.calendar.find(b"another") is None


def test_a_record_that_is_known_by_its_offset_takes_few_bytes() -> None:
    """Less than 16 bytes where many share a tick: 8 for its number, and a share of what its tick takes."""
    log, count = Log(budget_bytes=RECORD_BYTES), 50_000
    log.write(1.0, 1.0)
    message = log.messages[0]
    wakes = [int(NOW_S * 1_000) + 2_000 + number % 600_000 for number in range(0, count * 12, 12)]
    gc.collect()
    tracemalloc.start()
    for offset, wake_ms in enumerate(wakes):
        log.calendar._known.note(log.place, offset, wake_ms, log.calendar._memory.now_ms)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / count < 16, message


def test_it_is_behind_only_while_records_are_read_again_that_are_due_soon() -> None:
    """Then more is read in a turn, at the cost of what runs beside it."""
    log = Log(budget_bytes=4 * RECORD_BYTES)
    log.write(0.0, 1.0, 2.0, 3.0, *(600.0 + number for number in range(10)))
    assert not log.calendar.is_behind
    log.calendar.pop_due(NOW_S + 4, 9)
    wanted = log.calendar.take_wanted()
    assert wanted
    assert not log.calendar.is_behind
    log.calendar.pop_due(NOW_S + 590, 9)
    assert log.calendar.is_behind
    for offset in wanted[log.place]:
        log.calendar.take_reread(log.place, log.messages[offset])
    assert not log.calendar.is_behind


def test_it_is_behind_with_records_that_are_wanted_after_others_and_due_before_them() -> None:
    """Some far off are being read again, and memory is full when sooner ones come: these are read in haste as well."""
    log = Log(budget_bytes=4 * RECORD_BYTES)
    log.write(*([1.0] * 5), *([600.0] * 4))
    log.calendar.pop_due(NOW_S + 4, 9)
    assert log.calendar.take_wanted()
    log.write(*([10.0] * 5), 60.0)
    assert len(log.calendar.pop_due(NOW_S + 45, 9)) == 5
    assert not log.calendar.is_behind
    assert log.calendar.take_wanted() == {log.place: [14]}
    assert log.calendar.is_behind
    assert log.calendar.next_wake_at_s == pytest.approx(NOW_S + 60, abs=SECOND_S)


def test_a_record_that_comes_within_its_tick_takes_its_place_among_those_that_have_come() -> None:
    """Of three in one tick, the one in the middle is read when that tick has begun."""
    log = Log()
    log.write(5.3, 5.7)
    assert log.calendar.pop_due(NOW_S + 5.2, 10) == []
    log.write(5.5, 5.1)
    assert log.calendar.next_due_at_s == pytest.approx(NOW_S + 5.1, abs=0.002)
    due = [log.calendar.pop_due(NOW_S + at_s, 1) for at_s in (5.2, 5.4, 5.6, 5.8)]
    assert [due_in_s(record) for (record,) in due] == [5.1, 5.3, 5.5, 5.7]


def test_the_next_record_to_be_due_is_known_wherever_it_waits() -> None:
    """For those who look from outside: in memory, known by its offset, or being read again."""
    log = Log(budget_bytes=3 * RECORD_BYTES)
    assert log.calendar.next_wake_at_s is None
    log.write(*(10.0 + 10 * number for number in range(20)))
    assert log.calendar.next_wake_at_s == pytest.approx(NOW_S + 10, abs=SECOND_S)
    assert len(log.calendar.pop_due(NOW_S + 1_000, 20)) == log.calendar.in_memory + 20 - len(log.calendar)
    first_left_s = 10.0 * (20 - len(log.calendar) + 1)
    assert log.calendar.next_wake_at_s == pytest.approx(NOW_S + first_left_s, abs=SECOND_S)
    log.calendar.take_wanted()
    assert log.calendar.coming
    assert log.calendar.next_wake_at_s == pytest.approx(NOW_S + first_left_s, abs=SECOND_S)


def test_cancelled_records_are_taken_out_before_they_are_due() -> None:
    """A part in each turn; what comes later is looked at as it comes, and nothing while no cancel is new."""
    log, cancels = Log(), Cancels()
    cancelled = CancelledDelays(log.calendar, cancels, "q")
    log.write(*(HOUR_S * (number % 50) / 100 + 5 for number in range(500)))
    assert not cancelled
    cancels.begin_job("job", Cancellation(operator="ann"))
    found: list[Record] = []
    while cancelled:
        some = cancelled.turn(most=7)
        assert len(some) <= 7
        found += some
    assert sorted(record.offset for record in found) == list(range(500))
    assert (len(log.calendar), log.calendar.next_due_at_s) == (0, None)
    assert cancelled.has(log.messages[0], log.place)
    cancels.end_job("job")
    assert not cancelled.has(log.messages[0], log.place)


@given(
    st.lists(st.integers(0, 20_000), max_size=60),
    st.integers(1, 20),
    st.sets(st.integers(0, 59)),
    st.lists(st.sampled_from(["sweep", "gone", "time", "begin"]), max_size=20),
)
def test_cancelled_records_are_found_also_where_they_are_known_by_their_offsets(
    due_s: list[int], records: int, cancelled: set[int], steps: list[str]
) -> None:
    """Each record comes out once, whatever happens meanwhile; those that are cancelled before they are due."""
    log = Log(budget_bytes=records * RECORD_BYTES)
    log.write(*due_s)
    known = {offset for offsets in log.calendar.known_offsets().values() for offset in offsets}
    sweep = DelaySweep(log.calendar, lambda record: record.offset in cancelled)
    sweep.begin()
    came: list[Record] = []
    now_s = 0.0
    for step in [*steps, *["sweep"] * 100]:
        match step:
            case "begin":
                sweep.begin()
            case "time":
                now_s += 700
                log.read_again()
                came += log.calendar.pop_due(NOW_S + now_s, 100)
            case "gone":
                for assignment, wanted in sweep.take_wanted().items():
                    assert all(sweep.note_gone(assignment, offset) for offset in wanted)
            case "sweep":
                for assignment, wanted in sweep.take_wanted().items():
                    assert all(sweep.note_read(assignment, log.messages[offset]) for offset in wanted)
                came += sweep.take_found(3)
    assert not sweep
    if not steps:
        assert set(offsets(came)) == known & cancelled
    came += [record for _, record in log.run(21_000, 350)]
    assert sorted(offsets(came)) == list(range(len(due_s)))
    assert (len(log.calendar), log.calendar.in_memory) == (0, 0)


def test_a_sweep_lets_go_of_a_partition_that_goes_away() -> None:
    """Also of what was found in it and is not taken yet."""
    log = Log(budget_bytes=2 * RECORD_BYTES)
    log.write(*range(100, 200))
    sweep = DelaySweep(log.calendar, lambda record: record.offset > 50)
    sweep.begin()
    ((assignment, wanted),) = sweep.take_wanted().items()
    for offset in wanted[:-1]:
        sweep.note_read(assignment, log.messages[offset])
    assert len(sweep.take_found(1)) == 1
    assignment.leave()
    log.calendar.drop([assignment])
    assert sweep.take_found(100) == []
    assert not sweep


def test_a_filter_looks_at_what_is_known_by_its_offset_and_a_cancel_by_id_does_not() -> None:
    """Which ends when it comes into memory: it is looked at there."""
    log, cancels = Log(budget_bytes=2 * RECORD_BYTES), Cancels()
    cancelled = CancelledDelays(log.calendar, cancels, "q")
    log.write(*range(100, 200))
    by = Cancellation(operator="ann")
    cancels.begin_job("other", by)
    while cancelled:
        assert (cancelled.turn(10), cancelled.take_wanted()) == ([], {})
    cancels.begin_filter("1", CancelFilter(queue="q", key=b"k"), by)
    found: list[Record] = []
    while cancelled:
        for assignment, wanted in cancelled.take_wanted().items():
            assert all(cancelled.look_at(assignment, log.messages[offset]) for offset in wanted)
        found += cancelled.turn(10)
    assert sorted(offsets(found)) == list(range(100))
    assert len(log.calendar) == 0


def test_others_stay_where_some_are_taken_out() -> None:
    """And come out in their order when they are due."""
    log = Log()
    log.write(30, 30, 10, 30)
    (tick,) = {found for found in log.calendar.ticks if found > min(log.calendar.ticks)}
    taken, looked_at = log.calendar.take_out(tick, lambda record: record.offset == 1, 10)
    assert ([record.offset for record in taken], looked_at) == ([1], 3)
    assert [record.offset for _, record in log.run(40, 1)] == [2, 0, 3]


@pytest.mark.parametrize("records", [1, 100])
@pytest.mark.parametrize("new_due_s", [0.0, 30.0, 7_000.0])
@pytest.mark.parametrize("is_place_known", [True, False])
def test_a_record_whose_job_was_rescheduled_comes_at_its_new_time(
    records: int, new_due_s: float, *, is_place_known: bool
) -> None:
    """In memory, or known by its offset where the place is known; later than its own time it is for others to defer."""
    reschedules = Reschedules()
    log = Log(budget_bytes=records * RECORD_BYTES)
    log.calendar = Calendar(MONTH_S, records * RECORD_BYTES, reschedules)
    log.calendar.pop_due(NOW_S, 0)
    log.write(5.0, 20.0, 3_600.0, 10_000.0)
    reschedules.begin("job", NOW_S + new_due_s, NOW_S + MONTH_S)
    for at in (1, 3):
        if is_place_known:
            assert log.calendar.look_again({(log.place, at)}) == {(log.place, at)}
    if not is_place_known:
        log.calendar.look_for([b"job"])
    assert not log.calendar.look_again({(log.place, 99)})
    came = {record.offset: at_s for at_s, record in log.run(10_020.0, 10.0)}
    is_all_known = is_place_known or records > 1
    expected = {1: min(20.0, new_due_s), 3: min(10_000.0, new_due_s)} if is_all_known else {}
    for offset, at_s in expected.items():
        assert at_s <= came[offset] <= at_s + 10.0 + SECOND_S
    assert sorted(came) == [0, 1, 2, 3]
    assert (len(log.calendar), log.calendar.coming) == (0, 0)


def test_nothing_is_early_once_a_clock_that_was_ahead_is_set_back() -> None:
    """Else a record goes to its runner, is written again as it is not due, and so on, as fast as the brokers can."""
    log = Log()
    log.write(1_800.0)
    assert log.calendar.pop_due(NOW_S + 3_600, 0) == []
    log.write(60.0, 7_200.0)
    assert log.calendar.pop_due(NOW_S, 10) == []
    assert [round(due_in_s(record)) for _, record in log.run(8_000, 60)] == [60, 1_800, 7_200]
    assert len(log.calendar) == 0


def test_ticks_that_have_come_are_kept_no_more() -> None:
    """A retry in each second for days must not cost memory for each of them."""
    in_memory = RecordsInMemory(1_000_000, evict=lambda *_: None)
    place = Assignment(1, "delays-1", 0, source=Delay(DelayClass.SHORT))
    packed = packed_record(Message(topic=place.topic, partition=0, offset=0, value=b"v"), 0, 0, [])
    in_memory.keep(10**12, 0, place, packed)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for second in range(1, 20_000):
        in_memory.keep(second << TICK_BITS, second, place, packed)
        assert len(in_memory.pop_due(second << TICK_BITS, 10)) == 1
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000
