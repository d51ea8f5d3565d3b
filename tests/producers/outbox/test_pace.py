"""A relay's pace: a rate of the last seconds, and one line a minute in the log."""

from __future__ import annotations

import time

import pytest

from stoker.producers.outbox import pace


def test_the_rate_is_of_the_last_seconds_and_the_log_of_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 rows a second for 59 s, then none: the rate falls to 0, and one minute has a line."""
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    counted, rates, minutes = pace.RelayPace(), [], []
    for second in range(1, 130):
        now_s = 100.0 + second
        counted.published += 10 if second < 60 else 0
        assert counted.is_beat_due()
        rates.append(counted.take_rate())
        minutes.append(counted.take_minute())
        assert not counted.is_beat_due()
    assert rates[10] == rates[57] == 10.0
    assert rates[-1] == 0.0
    assert [minute for minute in minutes if minute] == [(590, 60.0)]
