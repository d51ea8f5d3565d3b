"""Print a worker's inspections: for people as text, for programs as one JSON object a line for each queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from ...consumers.inspection.queue_inspection import PartitionInspection, QueueInspection, RunInspection
from ...topology.counts import counted

INSPECT_EVERY_S: Final = 5.0
_MOST_RUNS: Final = 100

Print = Callable[[Sequence[QueueInspection]], None]


def text_printer(write: Callable[[str], None]) -> Print:
    """Print inspections for people; `write` takes a text and ends its line."""

    def print_text(inspections: Sequence[QueueInspection]) -> None:
        for inspection in inspections:
            write("\n".join(inspection_lines(inspection)))

    return print_text


def json_printer(write: Callable[[str], None], clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Print:
    """Print inspections as JSON lines, beside those of the log."""

    def print_json(inspections: Sequence[QueueInspection]) -> None:
        for inspection in inspections:
            write(json.dumps(inspection_record(inspection, clock())))

    return print_json


def inspection_record(inspection: QueueInspection, now: datetime) -> dict[str, object]:
    """An inspection as plain data, in the shape of a line of the log."""
    head = {
        "ts": now.isoformat().replace("+00:00", "Z"),
        "level": "info",
        "logger": "stoker.inspection",
        "message": "inspection",
    }
    return head | asdict(inspection) | {"hints": inspection.hints}


def inspection_lines(inspection: QueueInspection) -> Iterator[str]:
    """An inspection for people, line by line."""
    counts = {"running": len(inspection.runs), "ready": inspection.ready, "parked": inspection.parked}
    counts |= {"delayed": inspection.delayed, "in flight": inspection.in_flight}
    shown = ", ".join(f"{count} {what}" for what, count in counts.items())
    yield f"queue {inspection.queue} on {inspection.worker}: {shown}; polled {inspection.polled_s:.1f} s ago"
    yield from (f"  ! {hint}" for hint in inspection.hints)
    yield from (f"      {line}" for line in inspection.poll_stack)
    for loop in inspection.loops:
        yield from (f"      {loop.name}: {line}" for line in loop.stack)
    yield from (_partition_line(found) for found in inspection.partitions)
    for run in inspection.runs[:_MOST_RUNS]:
        yield from _run_lines(run)
    if len(inspection.runs) > _MOST_RUNS:
        yield f"  and {counted(len(inspection.runs) - _MOST_RUNS, 'more running job')}"


def _partition_line(found: PartitionInspection) -> str:
    committed = "nothing committed" if found.committed is None else f"committed {found.committed}"
    lowest = (
        "all complete" if found.lowest is None else f"lowest incomplete {found.lowest} for {found.lowest_for_s:.0f} s"
    )
    return f"  {found.topic}/{found.partition} {found.state}: {committed}, {lowest}, {found.incomplete} incomplete"


def _run_lines(run: RunInspection) -> Iterator[str]:
    key = "" if run.key is None else f" key {run.key!r}"
    deadline = f"{run.left_s:.1f} s left" if run.left_s >= 0 else f"{-run.left_s:.1f} s past its deadline"
    yield (
        f"  {run.runner} {run.state}: {run.job_type} {run.job_id}{key}, attempt {run.attempt}, {run.record}, "
        f"for {run.ran_s:.1f} s, {deadline}"
    )
    if run.progress:
        yield f"      progress: {run.progress}"
    yield from (f"      {line}" for line in run.stack)
