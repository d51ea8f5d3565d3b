"""Records that gates hold back are kept in memory while they wait there, and no longer."""

from __future__ import annotations

import pytest

from stoker.consumers.gates.gate import PlainWhy, Wait
from stoker.consumers.gates.waiting_records import STALE_AT_LEAST, WaitingRecords
from support.scenes.deliveries import plain_record

PAUSED = PlainWhy("paused", "it is resumed")
JOBS = 1_000


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_record_that_has_left_before_its_time_takes_no_memory(is_resumed: bool) -> None:
    """One that left with its lane, beyond the bound on memory, or was released: a pause may end at any time."""
    waiting = WaitingRecords()
    for number in range(JOBS):
        waiting.add(plain_record(number), Wait(until_at_s=7_200.0 + number, why=PAUSED))
    if is_resumed:
        waiting.pop([PAUSED])
    else:
        for record in list(waiting.all()):
            waiting.remove(record, PAUSED)
    assert len(waiting._timed) <= STALE_AT_LEAST


def test_what_waits_keeps_its_time_while_others_leave() -> None:
    """The heap of times is made anew meanwhile."""
    waiting = WaitingRecords()
    records = [plain_record(number) for number in range(JOBS)]
    for number, record in enumerate(records):
        waiting.add(record, Wait(until_at_s=float(number), why=PAUSED))
    for record in records[:-1]:
        waiting.remove(record, PAUSED)
    assert waiting.next_at_s is not None
    assert not waiting.take_due(JOBS - 1.5)
    assert waiting.take_due(JOBS - 1.0) == records[-1:]
    assert waiting.next_at_s is None
