"""Workers as they are shown: what each does, how old its last status is, and which orders it has taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..cli.output import Figure, format_age

if TYPE_CHECKING:
    from ...producers.control.answers import LastStatus
    from ...schemas.own_records.control_records import QueueShare

TITLES: Final = ("WORKER", "HOST", "STATE", "QUEUES", "RUNNERS", "MEMORY", "UP", "STATUS AGE", "ORDERS", "VERSION")
STALE_S: Final = 15.0
_MIB: Final = 1024 * 1024


def worker_row(seen: LastStatus, now_s: float) -> Sequence[object]:
    """One worker, for people."""
    status = seen.status
    busy, runners = sum(share.busy for share in status.queues), sum(share.runners for share in status.queues)
    return (
        status.id,
        status.host,
        state_of(seen, now_s),
        ", ".join(_share(share) for share in status.queues),
        Figure(f"{busy}/{runners}"),
        Figure(f"{status.memory_bytes / _MIB:.0f} MiB"),
        format_age(timedelta(seconds=status.at.timestamp() - status.started_at.timestamp())),
        format_age(timedelta(seconds=seen.silent_s(now_s))),
        _orders(seen),
        status.version or "-",
    )


def worker_document(seen: LastStatus, now_s: float) -> dict[str, object]:
    """The data of a worker, for programs."""
    return {
        **asdict(seen.status),
        "state": state_of(seen, now_s),
        "is_living": seen.is_living(now_s),
        "silent_s": round(seen.silent_s(now_s), 3),
    }


def state_of(seen: LastStatus, now_s: float) -> str:
    """The state of a worker; `silent` where its last status is so old that it does not count any more."""
    from ...schemas.own_records.control_records import WorkerState

    if seen.status.state != WorkerState.GONE and not seen.is_living(now_s):
        return "silent"
    return seen.status.state


def _share(share: QueueShare) -> str:
    """`mails 0-3,7`."""
    return f"{share.queue} {_ranges(share.partitions) or 'none'}"


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in their order, those that follow each other as a range.

    >>> _ranges((0, 1, 2, 5, 7, 8))
    '0-2,5,7-8'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _orders(seen: LastStatus) -> str:
    status = seen.status
    if status.not_understood:
        return f"{status.not_understood} not understood"
    if status.control_age_s > STALE_S:
        return f"{format_age(timedelta(seconds=status.control_age_s))} old"
    return "taken" if status.control_offset or status.state != "starting" else "not yet"
