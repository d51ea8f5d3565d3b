"""Statistics in words, for `stoker statistics show` and `stoker queues`."""

from __future__ import annotations

from typing import Final

from ...topology.counts import counted
from .histograms import LengthHistogram
from .reading import Freshness, Statistics, TypeStatistics

SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def length(seconds: float | None) -> str:
    """A length of time with two or three digits.

    >>> [length(seconds) for seconds in (None, 0.00042, 0.0104, 1.53, 4_000)]
    ['-', '420 µs', '10 ms', '1.5 s', '1.1 h']
    """
    if seconds is None:
        return "-"
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    number = seconds / size
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def rate(per_s: float) -> str:
    """A rate with two digits or more, so that a rare thing is not none.

    >>> [rate(per_s) for per_s in (0.0, 0.0033, 0.123, 12.3, 36721.6)]
    ['0', '0.0033', '0.12', '12', '36,722']
    """
    if per_s >= 9.95:
        return f"{per_s:,.0f}"
    return f"{per_s:.2g}"


def quantiles(histogram: LengthHistogram) -> dict[str, float | None]:
    """{p50, p95, p99: seconds}, and how many it has as `count`."""
    found = {name: histogram.quantile_s(share) for name, share in SHARES.items()}
    rounded = {name: None if value is None else float(f"{value:.3g}") for name, value in found.items()}
    return {**rounded, "count": histogram.count}


def freshness_line(found: Statistics) -> str:
    """How old they are, and what to do about it."""
    if found.freshness is Freshness.NONE or found.at is None or found.since is None:
        return "there are no statistics: `stoker statistics run` keeps them"
    if found.freshness is Freshness.STALE:
        return f"{stale_line(found)} The figures are of the time before"
    behind = f", {counted(found.behind, 'event')} behind" if found.behind else ""
    processes = counted(len(found.processes), "process", "processes")
    return f"from {found.since:%H:%M:%S} to {found.at:%H:%M:%S} UTC, counted by {processes}{behind}"


def stale_line(found: Statistics) -> str:
    """The line below other figures; empty where statistics are kept."""
    if found.is_fresh:
        return ""
    if found.at is None:
        return "no statistics are kept; `stoker statistics run` adds waits, runs and failures here"
    return f"statistics are stale since {found.at:%Y-%m-%d %H:%M:%S} UTC: is `stoker statistics run` running?"


def figures(one: TypeStatistics | None) -> dict[str, object]:
    """The figures of a queue or type, for programs; None each where there are none."""
    if one is None:
        return dict.fromkeys(("span_s", "done_per_s", "failed_per_s", "wait_s", "run_s"))
    return {
        "span_s": round(one.span_s, 3),
        "done_per_s": round(one.done_per_s, 3),
        "failed_per_s": round(one.failed_per_s, 3),
        "wait_s": quantiles(one.tally.wait),
        "run_s": quantiles(one.tally.run),
    }


def queue_line(one: TypeStatistics) -> str:
    """The figures of a queue in one line."""
    wait, run = (
        f"{word} p50 {length(times.quantile_s(0.5))}, p99 {length(times.quantile_s(0.99))}"
        for word, times in (("wait", one.tally.wait), ("run", one.tally.run))
    )
    return f"{rate(one.done_per_s)} done/s, {rate(one.failed_per_s)} failed/s; {wait}; {run}"
