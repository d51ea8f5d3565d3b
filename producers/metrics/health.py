"""`Health`: whether a process lives, and whether it is ready for work, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """One answer.

    Attributes:
        why: the reasons why not, in words; empty where all is well.
        detail: what else is known, as JSON has it.
    """

    why: tuple[str, ...] = ()
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether there is no reason why not."""
        return not self.why


class Health(Protocol):
    """Asked by any thread; it must answer where the process hangs."""

    def live(self) -> HealthReport:
        """Whether to leave the process alone; if not, start it again."""
        ...

    def ready(self) -> HealthReport:
        """Whether it can do its work now."""
        ...


class AlwaysWell:
    """The health of a process that answers at all."""

    def live(self) -> HealthReport:
        """It lives."""
        return HealthReport()

    def ready(self) -> HealthReport:
        """It is ready."""
        return HealthReport()
