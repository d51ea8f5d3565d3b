"""`waiting_for` of `stoker queues --json` has the same keys whether jobs wait or not."""

from __future__ import annotations

from stoker.operations.commands.queues import _waits_data
from stoker.operations.queue_status.waiting_reports import WaitingSum


def test_what_waits_has_the_same_keys_where_nothing_waits() -> None:
    """A program that reads one of them must not fail on an idle queue."""
    some = _waits_data(WaitingSum(key=1, due=2, held={"paused": 3}))
    none = _waits_data(None)
    assert list(none) == list(some)
    assert [type(value) for value in none.values()] == [type(value) for value in some.values()]
