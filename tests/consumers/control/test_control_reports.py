"""A worker that cannot read the control topic says so at once, then once a minute, and when it can again."""

from __future__ import annotations

import pytest

from stoker.consumers.control import control_thread
from stoker.consumers.control.control_thread import STALE_AFTER_S, _Reports


def test_old_orders_are_logged_at_once_and_then_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The control thread asks ten times a second; each new outage has a line of its own at once."""
    now_s = 1_000.0
    monkeypatch.setattr(control_thread.time, "monotonic", lambda: now_s)  # type: ignore[attr-defined]  # as it imports
    reports = _Reports()
    logged = []
    for age_s, at_s in [(STALE_AFTER_S + 1, 0), (STALE_AFTER_S + 2, 1), (STALE_AFTER_S + 61, 60), (0, 61), (99, 62)]:
        now_s = 1_000.0 + at_s
        reports.note_age(age_s, None)
        logged.append([record.msg.split(" the control topic")[0] for record in caplog.records])
        caplog.clear()
    cannot, can = "the worker cannot read", "the worker reads"
    assert logged == [[cannot], [], [cannot], [can], [cannot]]
