"""`OffsetQueues`: as a dict of deques would behave, in far less memory."""

from __future__ import annotations

import random
import tracemalloc
from collections import deque
from functools import partial

import pytest

from stoker.consumers.backlog.offset_queues import OffsetQueues

LANES = [hash(b"lane-%d" % number) for number in range(200)]


def _is_multiple(of: int, number: int) -> bool:
    return number % of == 0


@pytest.mark.parametrize("seed", range(8))
def test_it_behaves_as_a_dict_of_deques(seed: int) -> None:
    """Whatever is added, taken and discarded in whatever order."""
    chance = random.Random(seed)
    queues, model = OffsetQueues(), dict[int, deque[int]]()
    lanes = LANES[: chance.choice([1, 3, 40, 200])]
    for number in range(20_000):
        lane = chance.choice(lanes)
        match chance.randrange(10):
            case 0 | 1 | 2:
                queues.append(lane, number)
                model.setdefault(lane, deque()).append(number)
            case 3:
                queues.prepend(lane, [number, number + 1])
                model.setdefault(lane, deque()).extendleft([number + 1, number])
            case 9:
                more = range(number, number + chance.randrange(3))
                queues.extend(lane, more)
                model.setdefault(lane, deque()).extend(more)
            case 4:
                expected = model.setdefault(lane, deque())
                assert queues.pop(lane, 2) == [expected.popleft() for _ in range(min(2, len(expected)))]
            case 8 if chance.random() < 0.005:
                left_over = chance.randrange(2, 5)
                queues.discard(partial(_is_multiple, left_over))
                model = {key: deque(n for n in behind if n % left_over) for key, behind in model.items()}
            case _:
                behind = model.get(lane)
                assert queues.popleft(lane) == (behind.popleft() if behind else None)
        assert (lane in queues) == bool(model.get(lane))
    assert len(queues) == sum(map(len, model.values()))
    assert queues.lanes == sum(map(bool, model.values()))
    assert {lane: queues.pop(lane, 30_000) for lane in lanes} == {lane: list(model.get(lane, ())) for lane in lanes}
    assert len(queues) == queues.lanes == 0


@pytest.mark.parametrize(("lanes", "most_bytes_each"), [(1, 15), (1_000, 16), (200_000, 60)])
def test_a_waiting_record_takes_some_tens_of_bytes(lanes: int, most_bytes_each: int) -> None:
    """Be it that all wait behind one job, or that each waits by itself."""
    records = 200_000
    tracemalloc.start()
    try:
        queues = OffsetQueues()
        for offset in range(records):
            queues.append(hash(b"%d" % (offset % lanes)), offset)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / records < most_bytes_each


def test_memory_is_let_go_when_all_is_taken() -> None:
    """A backlog that is gone leaves nothing behind."""
    tracemalloc.start()
    try:
        queues = OffsetQueues()
        for offset in range(100_000):
            queues.append(hash(b"%d" % (offset % 1_000)), offset)
        for lane in range(1_000):
            queues.pop(hash(b"%d" % lane), 1_000)
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 100_000


@pytest.mark.parametrize("seed", range(4))
def test_a_number_is_replaced_in_its_place(seed: int) -> None:
    """In long queues as well, while their first numbers are taken, and in whatever order."""
    chance = random.Random(seed)
    queues, lanes = OffsetQueues(), LANES[: chance.choice([1, 3])]
    model: dict[int, list[int]] = {lane: [] for lane in lanes}
    for number in range(1_000):
        lane = chance.choice(lanes)
        queues.append(lane, number)
        model[lane].append(number)
    for number in sorted(range(1_000), key=lambda number: number if seed % 2 else chance.random()):
        lane = chance.choice(lanes)
        assert queues.has(lane, number) == (number in model[lane])
        if number in model[lane]:
            queues.replace(lane, number, 10_000 + number)
            model[lane][model[lane].index(number)] = 10_000 + number
        if chance.random() < 0.3:
            assert queues.popleft(lane) == (model[lane].pop(0) if model[lane] else None)
    assert {lane: queues.pop(lane, 1_000) for lane in lanes} == model


def test_a_number_that_was_popped_is_not_found_again() -> None:
    """Though the search has ended there the last time, and another number is there by now."""
    queues = OffsetQueues()
    for number in range(200):
        queues.append(1, number)
    assert queues.has(1, 150)
    queues.pop(1, 151)
    assert not queues.has(1, 150)
    queues.append(65, 150)
    assert not queues.has(1, 150)
    assert queues.has(1, 199)
