"""Lengths of time as people write them, on the command line and in topic names: `5s`, `1m`, `10m`, `2h`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MILLISECOND = timedelta(milliseconds=1)
_WRITTEN = re.compile(r"(\d+)(ms|s|m|h|d)")


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `2h`, `7d` or a sum such as `1h30m`.

    Raises:
        ValueError: the text is not of that form.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    compact = text.strip().lower()
    parts = _WRITTEN.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is not a length of time: write it like 500ms, 5s, 10m, 2h, 7d or 1h30m")
    return timedelta(seconds=sum(int(number) * _UNITS_S[unit] for number, unit in parts))


def format_duration(duration: timedelta) -> str:
    """Write a length of time with the largest unit that leaves it whole; the inverse of `parse_duration`.

    >>> format_duration(timedelta(minutes=10))
    '10m'
    """
    total_ms = round(duration.total_seconds() * 1_000)
    for unit in ("d", "h", "m", "s"):
        unit_ms = int(_UNITS_S[unit] * 1_000)
        if total_ms and total_ms % unit_ms == 0:
            return f"{total_ms // unit_ms}{unit}"
    return f"{total_ms}ms"


def of_milliseconds(number: int) -> timedelta:
    """A length of time as the wire has it; one that is longer than Python knows is the longest.

    >>> of_milliseconds(1_500), of_milliseconds(2**63 - 1) == timedelta.max
    (datetime.timedelta(seconds=1, microseconds=500000), True)
    """
    return timedelta.max if number > timedelta.max // _MILLISECOND else number * _MILLISECOND


def retention_of(retention_ms: int) -> timedelta:
    """Read one of Kafka's retentions; `timedelta.max` where nothing is ever deleted: of -1, and of millions of years.

    >>> retention_of(2**63 - 1) == retention_of(-1) == timedelta.max
    True
    """
    return timedelta.max if retention_ms < 0 else of_milliseconds(retention_ms)


def format_retention(retention_ms: int) -> str:
    """Write one of Kafka's retentions; see `retention_of`.

    >>> format_retention(604_800_000), format_retention(-1)
    ('7d', 'unlimited')
    """
    retention = retention_of(retention_ms)
    return "unlimited" if retention == timedelta.max else format_duration(retention)
