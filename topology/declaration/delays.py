"""In which of a queue's delay topics a job waits that must not start yet. Pure.

The topics divide waiting jobs by the time that is left, so that those which are due soon are not spread among many that
are due much later: a worker reads a topic in the order in which its jobs were written.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final


class DelayClass(StrEnum):
    """How long a job has still to wait; the last part of the name of its topic."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


BOUNDS: Final = {DelayClass.SHORT: timedelta(minutes=15), DelayClass.MEDIUM: timedelta(hours=6)}
"""{class: the longest wait that belongs to it}, ascending; what waits longer is of the last class."""


def delay_class(left: timedelta) -> DelayClass:
    """The class of a job that is due when `left` is over.

    >>> delay_class(timedelta(hours=1)).value
    'medium'
    """
    return next((name for name, bound in BOUNDS.items() if left <= bound), DelayClass.LONG)
