"""`Cancellation`: who has cancelled a job, and why, and until when that stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """The order by which a job ends as cancelled.

    Attributes:
        operator: who gave it.
        reason: why, in the operator's words; may be empty.
        order_id: the id of the order; empty where it has none.
    """

    operator: str
    reason: str = ""
    order_id: str = ""

    @property
    def detail(self) -> Mapping[str, str]:
        """The facts about a cancel, for events."""
        found = {"operator": self.operator, "reason": self.reason, "order_id": self.order_id}
        return {name: value for name, value in found.items() if value}

    def __str__(self) -> str:
        """Who and why: `by ana@host: wrong price`."""
        return f"by {self.operator}: {self.reason}" if self.reason else f"by {self.operator}"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Standing:
    """A cancellation, and until when it stands, in epoch seconds."""

    cancellation: Cancellation
    until_at_s: float
