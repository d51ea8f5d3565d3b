"""How a worker's traces are printed: for people as text, for programs as one JSON object a line for each queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from ...consumers.inspection.report import PartitionTrace, QueueTrace, RunTrace

TRACE_EVERY_S: Final = 5.0
_MOST_RUNS: Final = 100

Print = Callable[[Sequence[QueueTrace]], None]


def text_printer(write: Callable[[str], None]) -> Print:
    """Print traces for people; `write` takes a text and ends its line."""

    def print_text(traces: Sequence[QueueTrace]) -> None:
        for trace in traces:
            write("\n".join(trace_lines(trace)))

    return print_text


def json_printer(write: Callable[[str], None], clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Print:
    """Print traces as JSON lines, beside those of the log."""

    def print_json(traces: Sequence[QueueTrace]) -> None:
        for trace in traces:
            write(json.dumps(trace_record(trace, clock())))

    return print_json


def trace_record(trace: QueueTrace, now: datetime) -> dict[str, Any]:
    """A trace as plain data, in the shape of a line of the log."""
    head = {"ts": now.isoformat().replace("+00:00", "Z"), "level": "info", "logger": "stoker.trace", "message": "trace"}
    return head | asdict(trace) | {"hints": trace.hints}


def trace_lines(trace: QueueTrace) -> Iterator[str]:
    """A trace for people, line by line."""
    yield (
        f"queue {trace.queue} on {trace.worker}: {len(trace.runs)} running, {trace.ready} ready, "
        f"{trace.parked} parked, {trace.held} held, {trace.in_flight} in flight; polled {trace.polled_s:.1f} s ago"
    )
    yield from (f"  ! {hint}" for hint in trace.hints)
    yield from (f"      {line}" for line in trace.poll_stack)
    for loop in trace.loops:
        yield from (f"      {loop.name}: {line}" for line in loop.stack)
    yield from (_partition_line(found) for found in trace.partitions)
    for run in trace.runs[:_MOST_RUNS]:
        yield from _run_lines(run)
    if len(trace.runs) > _MOST_RUNS:
        yield f"  and {len(trace.runs) - _MOST_RUNS} more jobs that run"


def _partition_line(found: PartitionTrace) -> str:
    committed = "nothing committed" if found.committed is None else f"committed {found.committed}"
    lowest = (
        "all complete" if found.lowest is None else f"lowest incomplete {found.lowest} for {found.lowest_for_s:.0f} s"
    )
    return f"  {found.topic}/{found.partition} {found.state}: {committed}, {lowest}, {found.incomplete} incomplete"


def _run_lines(run: RunTrace) -> Iterator[str]:
    key = "" if run.key is None else f" key {run.key!r}"
    deadline = f"{run.left_s:.1f} s left" if run.left_s >= 0 else f"{-run.left_s:.1f} s past its deadline"
    yield (
        f"  {run.runner} {run.state}: {run.job_type} {run.job_id}{key}, attempt {run.attempt}, {run.record}, "
        f"for {run.ran_s:.1f} s, {deadline}"
    )
    if run.progress:
        yield f"      progress: {run.progress}"
    yield from (f"      {line}" for line in run.stack)
