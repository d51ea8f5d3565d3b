"""The keys of the topic of schedules, and the ids of the jobs that schedules enqueue.

schedule/<name>   a `Schedule`: when it fires, and what
fired/<name>      its `LastFiring`
owner/<queue>     a `ScheduleOwner`: who fires the schedules of the queue
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum


class ScheduleKey(StrEnum):
    """The kind of record that stands under a key: the key's first part."""

    SCHEDULE = "schedule"
    FIRED = "fired"
    OWNER = "owner"

    def of(self, name: str) -> bytes:
        """The key for a schedule or a queue."""
        return f"{self}/{name}".encode()


def parse_key(key: bytes | None) -> tuple[str, str]:
    """The kind of record that stands under a key, and its schedule or queue; neither may be one that is known.

    >>> parse_key(b"fired/nightly-report")
    ('fired', 'nightly-report')
    """
    kind, _, name = (key or b"").decode("utf-8", "backslashreplace").partition("/")
    return kind, name


def instant_text(instant: datetime) -> str:
    """An instant as the ids of jobs have it, with a fraction only where there is one.

    >>> instant_text(datetime(2013, 1, 1, 5, 17, tzinfo=UTC))
    '2013-01-01T05:17:00Z'
    """
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def scheduled_job_id(name: str, instant: datetime, number: int = 0) -> str:
    """The id of the job that a schedule enqueues for an instant, or of the first, second, ... where it makes several.

    >>> scheduled_job_id("nightly-report", datetime(2013, 1, 1, 5, 17, tzinfo=UTC), 1)
    'nightly-report@2013-01-01T05:17:00Z#1'
    """
    return f"{name}@{instant_text(instant)}{f'#{number}' if number else ''}"
