"""A Faust process that is silent, or leaves events uncounted, is found to stall; an idle one is not."""

from __future__ import annotations

from stoker.operations.statistics.watch import START_S, Watch

STALL_S = 10.0


def watch(*beats: tuple[float, dict[int, int]]) -> Watch:
    """One that was started at 0, with the beats of a process."""
    made = Watch(0.0, STALL_S)
    for now_s, positions in beats:
        made.beat(now_s, positions)
    return made


def test_a_silent_process_stalls_after_its_time() -> None:
    """It has more time for its first snapshot."""
    assert watch().stall(START_S, {}) is None
    assert watch().stall(START_S + 1, {}) is not None
    beaten = watch((5.0, {0: 3}))
    assert beaten.stall(15.0, {0: 3}) is None
    stall = beaten.stall(16.0, {0: 3})
    assert stall == "it has written no snapshot for 11 s"


def test_a_partition_stalls_where_there_are_events_and_it_does_not_move() -> None:
    """However well the process says it is; the time counts from when there was something to count."""
    made = watch((1.0, {0: 3, 1: 7}))
    assert made.stall(2.0, {0: 3, 1: 7}) is None
    for second in range(3, 25):
        made.beat(float(second), {0: 3, 1: 7})
        assert made.stall(float(second), {0: 3, 1: 7}) is None
    made.beat(34.0, {0: 3, 1: 8})
    assert made.stall(34.0, {0: 9, 1: 9}) is None
    made.beat(35.0, {0: 3, 1: 9})
    stall = made.stall(35.0, {0: 9, 1: 9})
    assert stall == "partition 0 has stood at 3 of 9 for 11 s"


def test_time_without_brokers_does_not_count() -> None:
    """No other process would do better then."""
    made = watch((1.0, {0: 3}))
    made.excuse(60.0)
    assert made.stall(70.0, {0: 9}) is None
    assert made.stall(71.0, {0: 9}) is not None


def test_a_process_without_partitions_stalls_where_nobody_counts() -> None:
    """It waits for ever if its group believes in a member that is none."""
    made = watch((1.0, {}))
    for second in range(2, 13):
        made.beat(float(second), {})
        made.note(float(second), {0: 3, 1: 10 + second})
        assert made.stall(float(second), {0: 9, 1: 99}) is None
    made.note(13.0, {0: 3, 1: 30})
    stall = made.stall(13.0, {0: 9, 1: 99})
    assert stall == "partition 0 has stood at 3 of 9 for 11 s"
