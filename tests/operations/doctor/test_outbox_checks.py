"""The doctor's look at an outbox: who has to do something, and what (P16)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.databases.outbox.rows import Beat, FailedRow, OutboxStatus
from stoker.operations.doctor.findings import Verdict
from stoker.operations.doctor.outbox_checks import check_outbox, examine_outbox
from stoker.operations.outbox import create_outbox

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEAT = Beat(holder="web-1/17", published=5, rate_per_s=1.0, trouble=None)
WELL = OutboxStatus(
    waiting=2, behind=0, failed=0, oldest_at=NOW, size_bytes=None, beat=BEAT, beat_at=NOW, first_failed=()
)
ROW = FailedRow(id=1, job_id="j1", job_type="send", topic="shop.mails", reason="too large", tries=1, since=NOW)


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({}, Verdict.KEPT, "a relay publishes"),
        (
            {"failed": 1, "behind": 3, "first_failed": (ROW,)},
            Verdict.BROKEN,
            "1 row cannot be published, with 3 behind: too large",
        ),
        ({"beat_at": NOW - timedelta(minutes=1)}, Verdict.BROKEN, "no relay works, and 2 rows wait"),
        ({"beat": None, "beat_at": None, "waiting": 0, "oldest_at": None}, Verdict.AT_RISK, "no relay works"),
        ({"oldest_at": NOW - timedelta(minutes=5)}, Verdict.BROKEN, "the oldest for 300 s"),
        ({"beat": replace(BEAT, trouble="Kafka is lost")}, Verdict.BROKEN, "Kafka is lost"),
    ],
)
def test_each_state_of_an_outbox_is_judged(change: dict[str, Any], verdict: Verdict, words: str) -> None:
    """One finding each, with what to do unless all is well."""
    (finding,) = check_outbox("outbox stoker_outbox", replace(WELL, **change), NOW)
    assert (finding.guarantee, finding.verdict) == ("P16", verdict)
    assert words in finding.observed
    assert bool(finding.fix) is (verdict is not Verdict.KEPT)


def test_an_outbox_that_is_missing_or_away_is_a_finding(tmp_path: Path) -> None:
    """And not an error of the doctor's."""
    url = f"sqlite:///{tmp_path / 'db'}"
    assert [one.verdict for one in examine_outbox(url, "stoker_outbox")] == [Verdict.BROKEN]
    create_outbox(url)
    assert [one.verdict for one in examine_outbox(url, "stoker_outbox")] == [Verdict.AT_RISK]
    assert [one.verdict for one in examine_outbox("sqlite:////no/such/db", "stoker_outbox")] == [Verdict.UNKNOWN]
