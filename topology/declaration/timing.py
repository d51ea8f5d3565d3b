"""When a schedule fires: `cron` and `every`, and the instants that follow from them. Pure.

Cron is read by the library cronsim, which follows Debian's cron over changes of daylight saving: what is set for an
instant that does not exist fires at the next one that does, and what is set for one that exists twice fires once. An
expression whose hour or minute begins with a star fires by the time that passes, in both of the doubled hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from ..durations import format_duration

SHORTEST_INTERVAL: Final = timedelta(seconds=1)
LONGEST_DAYS: Final = 36_500
LONGEST: Final = timedelta(days=LONGEST_DAYS)
"""The bound on each length of time of a schedule: no sum of some of them and an instant leaves the calendar."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FARTHEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Nothing fires later: the calendar ends there, and cronsim must not run beyond it."""
_NEAR_MATCHES: Final = 3


class InvalidTiming(ValueError):
    """An expression, a time zone or an interval cannot be; the message names it."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone.

    Raises:
        InvalidTiming: there is no such zone, or the expression cannot be read or never fires.
    """

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Read both once, and refuse what cannot be read."""
        try:
            next(CronSim(self.expression, EPOCH.astimezone(_zone(self.zone))))
        except CronSimError as fault:
            reason = "write 5 fields (minute hour day month weekday), or 6 with seconds first, such as '0 3 * * *'"
            raise InvalidTiming(f"cron expression {self.expression!r} cannot be read ({fault}): {reason}") from None
        except StopIteration:
            raise InvalidTiming(
                f"cron expression {self.expression!r} never fires: it names no day that exists"
            ) from None

    def after(self, instant: datetime) -> Iterator[datetime]:
        """The instants after this one, ascending, in UTC."""
        return self._walk(instant, is_back=False)

    def up_to(self, instant: datetime) -> Iterator[datetime]:
        """The instants up to this one, itself included, descending, in UTC."""
        return self._walk(instant + timedelta(microseconds=1), is_back=True)

    def _walk(self, start: datetime, *, is_back: bool) -> Iterator[datetime]:
        """Two local times may mean one instant, where clocks are put forward: it comes once."""
        found = CronSim(self.expression, start.astimezone(_zone(self.zone)), reverse=is_back)
        last = start
        while EPOCH < last < FARTHEST:
            try:
                instant = next(found).astimezone(UTC)
            except (StopIteration, OverflowError):
                return
            if instant < last if is_back else instant > last:
                last = instant
                yield instant

    def __str__(self) -> str:
        """In one line, for people."""
        return f"{self.expression} {self.zone}"


@dataclass(frozen=True, slots=True)
class Every:
    """Equal intervals.

    Attributes:
        anchor: one of the instants; the others follow from it in both directions.

    Raises:
        InvalidTiming: the interval is below a second, above `LONGEST`, or no whole number of milliseconds.
    """

    interval: timedelta
    anchor: datetime = EPOCH

    def __post_init__(self) -> None:
        """Refuse intervals that cannot be."""
        if not isinstance(self.interval, timedelta) or self.interval < SHORTEST_INTERVAL:
            raise InvalidTiming(f"the interval must be a timedelta of a second or more; it is {self.interval!r}")
        if self.interval > LONGEST:
            raise InvalidTiming(f"the interval must be {LONGEST_DAYS:,} days at the most; it is {self.interval}")
        if self.interval % timedelta(milliseconds=1):
            raise InvalidTiming(f"the interval must be whole milliseconds; it is {self.interval}")

    def after(self, instant: datetime) -> Iterator[datetime]:
        """The instants after this one, ascending, in UTC."""
        number = (instant - self.anchor) // self.interval + 1
        with suppress(OverflowError):  # beyond the years that there are, nothing fires
            while (found := self.anchor + number * self.interval) < FARTHEST:
                yield found
                number += 1

    def up_to(self, instant: datetime) -> Iterator[datetime]:
        """The instants up to this one, itself included, descending, in UTC."""
        number = (instant - self.anchor) // self.interval
        with suppress(OverflowError):
            while (found := self.anchor + number * self.interval) > EPOCH:
                yield found
                number -= 1

    def __str__(self) -> str:
        """In one line, for people."""
        return f"every {format_duration(self.interval)}"


Timing = Cron | Every


def cron(expression: str, *, tz: str = "UTC") -> Cron:
    """Fire at the local times that a cron expression names.

    Args:
        expression: minute, hour, day of month, month and weekday; with six fields, seconds come first.
        tz: the IANA name of the time zone in which it is read, such as `Europe/Berlin`.

    Raises:
        InvalidTiming: the expression cannot be read, or there is no such zone.

    >>> next(cron("0 3 * * *", tz="Europe/Berlin").after(datetime(2013, 7, 1, tzinfo=UTC))).isoformat()
    '2013-07-01T01:00:00+00:00'
    """
    return Cron(expression, tz)


def every(interval: timedelta) -> Every:
    """Fire at equal intervals, counted from the schedule's start, or else from 1970, in UTC.

    So the instants do not depend on when the schedule was made, or a worker was started.

    Raises:
        InvalidTiming: the interval is below a second.

    >>> next(every(timedelta(minutes=5)).after(datetime(2013, 7, 1, 0, 2, tzinfo=UTC))).isoformat()
    '2013-07-01T00:05:00+00:00'
    """
    return Every(interval)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = [known for known in sorted(available_timezones()) if name.lower() in known.lower()][:_NEAR_MATCHES]
        hint = f"did you mean {' or '.join(near)}?" if near and name else "give an IANA name, such as Europe/Berlin"
        raise InvalidTiming(f"there is no time zone {name!r}; {hint}") from None


def later(instant: datetime, by_ms: float) -> datetime:
    """The instant so many milliseconds later, or earlier where they are negative; the calendar's end where none is.

    >>> later(EPOCH, 2**63) == FARTHEST, later(FARTHEST, -(2**63)) == EPOCH
    (True, True)
    """
    try:
        return min(max(instant + timedelta(milliseconds=by_ms), EPOCH), FARTHEST)
    except OverflowError:
        return FARTHEST if by_ms > 0 else EPOCH


def in_zone(instant: datetime, zone: str) -> datetime:
    """The instant as the clocks of a zone show it.

    Raises:
        InvalidTiming: there is no such zone.
    """
    return instant.astimezone(_zone(zone))
