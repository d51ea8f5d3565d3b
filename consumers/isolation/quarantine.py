"""`quarantine`: what becomes of a job that has crashed as often as its queue allows: a dead letter, with its deaths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...topology.counts import counted
from ..job.failure import make_failure
from ..records.outcomes import Dead
from .crashes import NOT_BEGUN_LIMIT, ChildDied

STACK_CHARACTERS: Final = 2_000
"""Characters of the last death's stack, so that a line about each death is kept below it."""


def quarantine(job_type: str, crashes: int, deaths: Sequence[ChildDied]) -> Dead:
    """The outcome of a job that has crashed too often.

    Args:
        deaths: those of which there is evidence here, at least one, the latest last; earlier ones may have been seen
            by another worker.
    """
    last, times = deaths[-1], counted(crashes, "time")
    how = f"its process died {times} while the job ran"
    if last.ran_s is None:
        how = f"it has crashed {times}; the last time, {NOT_BEGUN_LIMIT} child processes died before they began with it"
    elif any(death.ran_s is None for death in deaths):
        how = f"it has crashed {times}; the last time, its process died while it ran"
    lines = [f"{number}. {death}" for number, death in enumerate(deaths, crashes - len(deaths) + 1)]
    failure = make_failure(
        job_type,
        error_type=f"{ChildDied.__module__}.{ChildDied.__qualname__}",
        message=f"{how}; of the last one: {last}",
        stack="\n".join([last.stack[:STACK_CHARACTERS], *lines]).lstrip(),
        cause=last.cause(),
    )
    return Dead(reason="quarantined", failure=failure, crashes=crashes)
