"""Points in time as operators write them: RFC 3339, a date, or a length of time ago; and lengths as they read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..topology import format_duration, parse_duration

FORMS = "2013-01-01T05:17:00Z, 2013-01-01 (its beginning, UTC), -2h, '30m ago' or now"


class OffsetMissing(ValueError):
    """A point in time without an offset from UTC."""

    def __init__(self, written: str) -> None:
        super().__init__(f"{written!r} has no offset from UTC: write it like {FORMS}")


def parse_when(text: str, now: datetime) -> datetime:
    """Read a point in time.

    Args:
        text: RFC 3339 with an offset from UTC; a date, meaning its first moment in UTC; `-2h`, `2h ago`; `now`.
        now: aware; what the relative forms count from.

    Raises:
        OffsetMissing: it has no offset from UTC.
        ValueError: it is none of these.

    >>> parse_when("90m ago", datetime(2013, 1, 1, 12, tzinfo=UTC)).isoformat()
    '2013-01-01T10:30:00+00:00'
    """
    written = text.strip()
    if written == "now":
        return now
    ago = _length_ago(written)
    return now - parse_duration(ago) if ago is not None else _absolute(written)


def _length_ago(written: str) -> str | None:
    if written.startswith("-"):
        return written[1:]
    return written.removesuffix("ago").strip() if written.endswith("ago") else None


def _absolute(written: str) -> datetime:
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(f"{written!r} is not a point in time: write it like {FORMS}") from None
    if len(written) == len("2013-01-01"):
        return instant.replace(tzinfo=UTC)
    if instant.tzinfo is None:
        raise OffsetMissing(written)
    return instant.astimezone(UTC)


def rounded(length: timedelta) -> str:
    """A length of time in its largest whole unit.

    >>> rounded(timedelta(seconds=184))
    '3m'
    """
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)):
        if length >= unit * 2:
            return format_duration(unit * (length // unit))
    return format_duration(timedelta(seconds=int(length.total_seconds())))
