"""`Slo`: what the owner of jobs promises of them. `owner_faults`: what is wrong with a declared owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ..durations import format_duration

LONGEST: Final = {"owner": 100, "runbook": 500, "escalation": 500}
"""{option: characters at the most}; dead letters carry owner and runbook as headers."""
_NONE: Final = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """The service level that jobs are to keep: 99 of 100 of them the times, and the stated ratio of them success.

    Attributes:
        wait: how long a job may wait from its enqueueing, or from its due time, until it begins; None: not promised.
        run: how long one run may take; None: not promised.
        success: the ratio of jobs that are done and no dead letters, above 0 and below 1.
    """

    wait: timedelta | None = None
    run: timedelta | None = None
    success: float = 0.999

    def faults(self) -> list[str]:
        """List what is wrong with the declaration; empty when all is well."""
        found = [
            f"slo's {name} must be a timedelta above zero, such as timedelta(seconds=30); it is {value!r}"
            for name, value in (("wait", self.wait), ("run", self.run))
            if value is not None and not (isinstance(value, timedelta) and value > _NONE)
        ]
        if not isinstance(self.success, int | float) or not 0 < self.success < 1:
            found.append(f"slo's success must be above 0 and below 1, such as 0.999; it is {self.success!r}")
        return found

    def __str__(self) -> str:
        """The declaration in words, as the catalogue shows it."""
        words = [f"{self.success:.6%}".rstrip("0%").rstrip(".") + "% done"]
        words += [] if self.wait is None else [f"wait {format_duration(self.wait)}"]
        words += [] if self.run is None else [f"run {format_duration(self.run)}"]
        return ", ".join(words)


def owner_faults(*, owner: object, runbook: object, escalation: object, slo: object) -> list[str]:
    """List what is wrong with what a queue or job type declares of its owner; empty when all is well."""
    found = []
    for name, value in (("owner", owner), ("runbook", runbook), ("escalation", escalation)):
        if not isinstance(value, str):
            found.append(f"{name} is text, such as {_EXAMPLES[name]!r}; it is {value!r}")
        elif len(value) > LONGEST[name]:
            found.append(f"{name} may have {LONGEST[name]} characters; it has {len(value)}. Link to a longer text")
        elif value != value.strip() or not value.isprintable():
            found.append(f"{name} must be one line without blanks around it; it is {value!r}")
    if isinstance(slo, Slo):
        found += slo.faults()
    elif slo is not None:
        found.append(f"slo is an Slo, such as Slo(wait=timedelta(seconds=30)); it is {slo!r}")
    return found


_EXAMPLES: Final = {
    "owner": "payments",
    "runbook": "https://wiki.example.org/charge",
    "escalation": "page payments-oncall",
}
