"""What a producer admits by what it knows: as many jobs as there is room for, for a second."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.producers.admission.depth import Depth
from stoker.producers.admission.door import (
    ASK_AGAIN_S,
    ASK_EVERY_S,
    ASK_FULL_S,
    FRESH_S,
    REST_AFTER_S,
    Door,
    Full,
    Unread,
)

NOW_S = 1_000.0


def read(door: Door, waiting: int, now_s: float = NOW_S, *, bulks_in_flight: int = 0) -> None:
    """A reading that takes no time."""
    door.begin_asking(bulks_in_flight, now_s)
    door.note_read(Depth(waiting=waiting), now_s)


def test_nothing_is_known_at_first() -> None:
    """The first job waits for the first reading, which is due at once."""
    door = Door(max_waiting=3)
    assert door.due_at_s() is None
    assert door.try_admit(NOW_S) == Unread(number=0)
    due_at_s = door.due_at_s()
    assert due_at_s is not None
    assert due_at_s <= NOW_S


def test_a_reading_allows_as_many_jobs_as_there_is_room_for() -> None:
    """8 of 10 wait: two more are admitted, and the third asks for another reading, soon."""
    door = Door(max_waiting=10)
    read(door, 8)
    assert [door.try_admit(NOW_S) for _ in range(3)] == [None, None, Unread(number=1)]
    assert door.due_at_s() == NOW_S + ASK_AGAIN_S


def test_a_queue_is_full_by_what_the_brokers_answer_alone() -> None:
    """What this producer has sent makes the queue full for nobody: another reading decides."""
    door = Door(max_waiting=1)
    read(door, 0)
    door.try_admit(NOW_S)
    assert isinstance(door.try_admit(NOW_S), Unread)
    read(door, 1)
    found = door.try_admit(NOW_S + 0.25)
    assert found == Full(depth=Depth(waiting=1), measured_ago=timedelta(seconds=0.25))


def test_a_figure_counts_for_a_second() -> None:
    """An older one neither admits nor refuses."""
    door = Door(max_waiting=5)
    read(door, 0)
    assert door.try_admit(NOW_S + FRESH_S) is None
    assert isinstance(door.try_admit(NOW_S + FRESH_S + 0.01), Unread)
    read(door, 9)
    assert isinstance(door.try_admit(NOW_S + FRESH_S + 0.01), Unread)


def test_jobs_on_their_way_count_until_they_are_confirmed() -> None:
    """Four were admitted and are not confirmed: readings may lack them, so of ten places six are left, however often it
    is asked; two that end make room."""
    door = Door(max_waiting=10)
    read(door, 0)
    assert [door.try_admit(NOW_S) for _ in range(4)] == [None] * 4
    for _ in range(5):
        read(door, 0)
    door.note_ended()
    door.note_ended()
    read(door, 2)
    assert [door.try_admit(NOW_S) for _ in range(7)] == [*[None] * 6, Unread(number=7)]


def test_jobs_of_a_bulk_count_as_long_as_bulks_have_so_many_on_their_way() -> None:
    """Four of a bulk are admitted: three readings later they may still be on their way, if any are."""
    door = Door(max_waiting=10)
    read(door, 0)
    assert [door.try_admit(NOW_S, in_bulk=True) for _ in range(4)] == [None] * 4
    for _ in range(3):
        read(door, 0, bulks_in_flight=500)
    assert [door.try_admit(NOW_S, in_bulk=True) for _ in range(7)] == [*[None] * 6, Unread(number=4)]
    read(door, 10, bulks_in_flight=0)
    read(door, 0, bulks_in_flight=0)
    assert [door.try_admit(NOW_S) for _ in range(10)] == [None] * 10


def test_bulks_to_other_queues_close_no_door() -> None:
    """500 of bulks are in flight: of this queue no more can be than bulks were admitted to it."""
    door = Door(max_waiting=10)
    read(door, 0, bulks_in_flight=500)
    assert [door.try_admit(NOW_S) for _ in range(10)] == [None] * 10
    for _ in range(10):
        door.note_ended()
    read(door, 0, bulks_in_flight=500)
    assert door.try_admit(NOW_S) is None


def test_a_failure_admits_all_and_a_reading_ends_that() -> None:
    """No job is refused because a figure is missing; the first failure and the first success are told apart."""
    door = Door(max_waiting=1)
    read(door, 1)
    assert door.note_failed()
    assert not door.note_failed()
    assert [door.try_admit(NOW_S) for _ in range(3)] == [None] * 3
    assert door.note_read(Depth(waiting=1), NOW_S)
    assert isinstance(door.try_admit(NOW_S), Full)
    assert not door.note_read(Depth(waiting=1), NOW_S)


def test_a_queue_that_gets_no_jobs_is_not_asked_about() -> None:
    """Twice a second while it gets jobs, more often while a call waits, and not at all a while after the last one."""
    door = Door(max_waiting=1)
    door.try_admit(NOW_S)
    read(door, 1)
    assert door.due_at_s() == NOW_S + ASK_EVERY_S
    door.note_waiting()
    assert door.due_at_s() == NOW_S + ASK_FULL_S
    read(door, 1, NOW_S + REST_AFTER_S + 1)
    assert door.due_at_s() is None
    door.try_admit(NOW_S + REST_AFTER_S + 5)
    assert door.due_at_s() is not None


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.booleans()), max_size=20),
)
def test_a_sole_producer_never_passes_the_bound(max_waiting: int, rounds: list[tuple[int, int, int, bool]]) -> None:
    """However many jobs it wishes to send, alone or in bulk, however late they are confirmed, and however many end
    between: no more than the bound wait at any moment."""
    door, waiting, now_s = Door(max_waiting), 0, NOW_S
    on_its_way = {False: 0, True: 0}
    for wished, confirmed, ended, in_bulk in rounds:
        for kind, number in on_its_way.items():
            done = min(confirmed, number)
            on_its_way[kind] -= done
            waiting += done
            for _ in range(0 if kind else done):
                door.note_ended()
        waiting -= min(waiting, ended)
        read(door, waiting, now_s, bulks_in_flight=on_its_way[True])
        on_its_way[in_bulk] += sum(door.try_admit(now_s, in_bulk=in_bulk) is None for _ in range(wished))
        assert waiting + sum(on_its_way.values()) <= max_waiting
        now_s += 0.02


@pytest.mark.parametrize("bulks_in_flight", [0, 3, 100])
def test_a_queue_with_room_always_opens_in_the_end(bulks_in_flight: int) -> None:
    """Whatever bulks to other queues have on their way, each reading admits a job."""
    door = Door(max_waiting=2)
    admitted = 0
    for step in range(9):
        read(door, 0, NOW_S + step, bulks_in_flight=bulks_in_flight)
        if door.try_admit(NOW_S + step) is None:
            admitted += 1
            door.note_ended()
    assert admitted == 9
