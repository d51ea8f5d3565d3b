"""Shows what a replay or discard of dead letters would do, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...topology.counts import counted
from .publishing import Printer, tally_document, tally_lines

if TYPE_CHECKING:
    from ..replay.dead_letter_replay import Forecast, Request

SHOWN_REASONS: Final = 10
SHOWN_CORRECTIONS: Final = 5


def print_forecast(printer: Printer, forecast: Forecast, verb: str) -> None:
    """Print what would be done, and what would not."""
    printer.print_line(f"{counted(forecast.total, 'dead letter')} to {verb}" + (":" if forecast.total else ""))
    for line in tally_lines(forecast.tally):
        printer.print_line(line)
    for line in _correction_lines(forecast):
        printer.print_line(line)
    if forecast.settled_before:
        printer.print_line(f"{forecast.settled_before:,} of them were settled before")
    if forecast.expired:
        printer.print_line(f"{forecast.expired:,} of them have expired and would not run: --drop-expiry lets them")
    if forecast.passed_over:
        way_out = ": `dead replay --again` publishes such a dead letter once more" if verb == "replay" else ""
        printer.print_line(
            f"{counted(forecast.passed_over, 'dead letter')} of those named: replayed or discarded before{way_out}"
        )
    for line in _left_out_lines(forecast):
        printer.print_line(line)


def _left_out_lines(forecast: Forecast) -> Iterator[str]:
    """Which dead letters cannot be published, and why; the commonest reasons first."""
    from ..replay.dead_letter_replay import ORIGINAL_GONE

    shown = forecast.left_out.most_common(SHOWN_REASONS)
    for reason, count in shown:
        way_out = "" if reason == ORIGINAL_GONE else " (--include-undecodable takes them along unread)"
        yield f"left out: {count:,}, because {reason}{way_out}"
    if len(forecast.left_out) > SHOWN_REASONS:
        rest = forecast.left_out.total() - sum(count for _, count in shown)
        yield f"left out: {rest:,} more, for other reasons (--json has them)"


def _correction_lines(forecast: Forecast) -> Iterator[str]:
    """Before and after, of the first dead letters that are corrected."""
    for correction in forecast.corrections[:SHOWN_CORRECTIONS]:
        changes = "; ".join(map(str, correction.fields)) or "nothing changes, its payload is so already"
        yield f"  {correction.ref} {correction.job_id}: {changes}"
    if forecast.corrected > SHOWN_CORRECTIONS:
        yield f"  and {counted(forecast.corrected - SHOWN_CORRECTIONS, 'dead letter')} more (--json shows more of them)"


def forecast_document(request: Request, forecast: Forecast) -> dict[str, object]:
    """The forecast for programs."""
    return {
        "id": request.action_id,
        "filters": request.selection.in_words(),
        "selected": forecast.total,
        "groups": tally_document(forecast.tally),
        "left_out": dict(forecast.left_out),
        "settled_before": forecast.settled_before,
        "passed_over": forecast.passed_over,
        "expired": forecast.expired,
        "corrections": forecast.corrections,
        "corrections_are_cut": forecast.corrected > len(forecast.corrections),
    }
