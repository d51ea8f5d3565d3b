"""`Level`: what one scope of a rate has used, for the next owner of its partition."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The use of one scope, as of one time of a monotonic clock; a next owner goes on with it.

    Attributes:
        at_s: the time.
        used: of a window, when each amount was used at the latest, the oldest first.
        tokens: of a token bucket, what it has; None for a window.
        reserved: so much more may have been used, up to `reserved_until_at_s`.
    """

    at_s: float
    used: tuple[tuple[float, int], ...] = ()
    tokens: float | None = None
    reserved: int = 0
    reserved_until_at_s: float = -math.inf
