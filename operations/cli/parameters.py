"""Types of option values that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import click


class Duration(click.ParamType):
    """A length of time, written like 500ms, 5s, 10m, 2h, 7d or 1h30m."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or complain with examples."""
        from ...topology import parse_duration

        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


class Instant(click.ParamType):
    """A point in time; `operations/instants.py` has its forms."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the text; what is an instant already stays."""
        from ..instants import parse_when

        if isinstance(value, datetime):
            return value
        try:
            return parse_when(str(value), datetime.now(UTC))
        except ValueError as wrong:
            self.fail(str(wrong), param, ctx)


INSTANT: Final = Instant()


class FromNow(click.ParamType):
    """A length of time from now, or a point in time."""

    name = "duration|instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime | timedelta:
        """Read it, or complain with examples of both forms."""
        from ...topology import parse_duration
        from ..instants import OffsetMissing, parse_when

        text = str(value)
        try:
            return parse_duration(text)
        except ValueError:
            pass  # then it must be a point in time
        try:
            return parse_when(text, datetime.now(UTC))
        except OffsetMissing as missing:
            self.fail(str(missing), param, ctx)
        except ValueError:
            self.fail(f"{text!r} is neither a length of time (2h) nor an instant (2026-01-31T08:00:00Z)", param, ctx)


def instant_of(value: datetime | timedelta | None) -> datetime | None:
    """The point in time that a value of `FromNow` names."""
    return datetime.now(UTC) + value if isinstance(value, timedelta) else value
