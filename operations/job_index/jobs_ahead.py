"""Which jobs of its key a job waits for, by what the index has of both and by the ordering of their queue.

| ordering | a job that may start waits for |
|---|---|
| `key` | one that came before it and may start as well: it runs, or is ahead in the lane; none that waits to be due |
| `strict` | also one that waits in a tier or a delay topic, however long; a job that was there passes the others |
| `none` | none |

With priorities, jobs of other topics take turns with it; which of them is at work, the index does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from .states import State

if TYPE_CHECKING:
    from ...topology import Queue
    from .listed_jobs import ListedJob

_BACK: Final = frozenset({State.RETRYING, State.SNOOZED, State.DEFERRED})
"""The states of jobs that a worker has moved to a tier or a delay topic; a delayed job may not have been moved yet."""


def waits_for_key(job: ListedJob, queue: Queue, now: datetime) -> bool:
    """Whether another job of its key may be what it waits for."""
    if job.key is None or job.state.has_ended or queue.ordering == "none":
        return False
    is_due = job.due is None or job.due <= now
    return is_due or (queue.ordering == "strict" and not _has_moved(job, queue))


def is_ahead(job: ListedJob, queue: Queue) -> str:
    """The condition by which a job `j` of the key is ahead of this one, the row `b`, where this may wait for its key.

    It takes `:now`, in ms, and `:main`, the name of the main topic's partition.
    """
    if queue.ordering != "strict":
        return f"{_MAY_START} AND {_CAME_BEFORE}{_OF_ITS_TOPIC if queue.priorities else ''}"
    if _has_moved(job, queue):
        return f"({_MOVED}) AND {_MAY_START} AND {_CAME_BEFORE}"
    return f"({_MOVED}) OR ({_ON_QUEUE} AND {_STANDS_BEFORE})"


def main_place(job: ListedJob, queue: Queue) -> str:
    """The partition of the main topic that its key goes to, as the index names it."""
    return f"{queue.topic}/{job.place.rsplit('/', 2)[1]}"


def _has_moved(job: ListedJob, queue: Queue) -> bool:
    on_main = job.place.rsplit("/", 2)[0] == queue.topic
    return job.state in _BACK or (job.state is State.DELAYED and not on_main)


def _among(states: Iterable[State]) -> str:
    return f"j.state IN ({','.join(str(int(state)) for state in sorted(states))})"


def _enqueued(row: str) -> str:
    """When the record of a row came to the main topic, in ms: of a replayed job, when that was."""
    return f"CASE {row}.life WHEN 0 THEN {row}.enq ELSE {row}.enq + {row}.at END"


def _came(row: str) -> str:
    """When a row's job could start first, in ms."""
    return f"max({_enqueued(row)}, {row}.enq + coalesce({row}.due, 0))"


_OPEN: Final = (State.QUEUED, State.DELAYED, *_BACK)
_ON_MAIN: Final = "j.place IS (SELECT k FROM names WHERE name = :main)"
_MOVED: Final = f"{_among(_BACK)} OR ({_among([State.DELAYED])} AND NOT {_ON_MAIN})"
_ON_QUEUE: Final = _among([State.QUEUED, State.DELAYED])
_STANDS_BEFORE: Final = f"CASE WHEN j.place = b.place THEN j.off < b.off ELSE {_enqueued('j')} < {_enqueued('b')} END"
_MAY_START: Final = f"{_among(_OPEN)} AND j.enq + coalesce(j.due, 0) <= :now"
_CAME_BEFORE: Final = (
    "CASE WHEN j.place = b.place AND j.due IS NULL AND b.due IS NULL THEN j.off < b.off "
    f"ELSE {_came('j')} < {_came('b')} END"
)
_OF_ITS_TOPIC: Final = " AND j.place = b.place AND j.due IS NULL AND b.due IS NULL"
