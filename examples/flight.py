"""`Flight`: the record that the demo's jobs carry, known to those who publish and to those who work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A departure in the data of the US Bureau of Transportation Statistics.

    Attributes:
        sched_dep_time, dep_time: local time of day, 1725 for 17:25; a cancelled flight never departed.
        dep_delay, arr_delay: minutes, negative when early; a diverted flight has no delay at its destination.
        tailnum: the plane; None when no plane was assigned.
        distance: miles.
    """

    year: int
    month: int
    day: int
    sched_dep_time: int
    dep_time: int | None = None
    dep_delay: int | None = None
    arr_delay: int | None = None
    carrier: str
    flight: int
    tailnum: str | None = None
    origin: str
    dest: str
    distance: int

    @property
    def flight_id(self) -> str:
        """What no other flight has: the day, flight number, airport and planned time."""
        return f"{self.flown_on}-{self.carrier}{self.flight}-{self.origin}-{self.sched_dep_time:04}"

    @property
    def flown_on(self) -> str:
        """The planned day, `2013-01-31`."""
        return f"{self.year}-{self.month:02}-{self.day:02}"
