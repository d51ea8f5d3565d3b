"""`make bench`: measures throughput, latency and memory beside a bare client, several rounds, in one run.

Uses the cluster of STOKER_BOOTSTRAP_SERVERS, else an embedded broker of its own that is removed in the end. See
docs/benchmarks.md for what each figure means.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from cluster import Site, open_site
from figures import Measure, Sizes, Values
from machine import machine_line
from measures import MEASURES
from processes import PartFailed
from report import Report

SHORTEST_OVER_S: Final = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the broker is ended as well
    sizes = Sizes(
        jobs=options.jobs,
        waiting=options.waiting,
        seconds=options.seconds,
        delayed=options.delayed,
        over_s=options.over,
        session_s=options.session,
    )
    measures = [measure for measure in MEASURES if not options.only or measure.name in options.only]
    try:
        with open_site(_say) as site:
            machine = machine_line(site.said)
            rounds = _measure(site, measures, sizes, options.rounds, bool(options.only))
    except PartFailed as failed:
        _say(str(failed))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    report = Report(machine=machine, sizes=sizes, measures=measures, rounds=rounds)
    print({"json": report.json, "markdown": report.markdown, "text": report.text}[options.form]())
    return 1 if options.strict and report.misses else 0


def _measure(
    site: Site, measures: Sequence[Measure], sizes: Sizes, rounds: int, are_chosen: bool
) -> dict[str, list[Values]]:
    """Take the measures in turn, and all of them again in each round, so that a slow minute hits no one alone."""
    found: dict[str, list[Values]] = {measure.name: [] for measure in measures}
    for number in range(1, rounds + 1):
        for measure in (m for m in measures if number == 1 or are_chosen or not m.is_long):
            began_at_s = time.monotonic()
            values = measure.run(site, sizes, number)
            found[measure.name].append(values)
            shown = ", ".join(f"{figure.label} {figure.show(values[figure.name])}" for figure in measure.figures[:3])
            _say(f"round {number} of {rounds}, {measure.name} ({time.monotonic() - began_at_s:.0f} s): {shown}")
    return found


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench", description=(__doc__ or "").partition(":")[2], epilog='through make: make bench ARGS="…"'
    )
    add = parser.add_argument
    add("--rounds", type=_positive, default=3, help="how often everything is measured (default: %(default)s)")
    add("--jobs", type=_positive, default=200_000, help="jobs of a backlog or bulk (default: %(default)s)")
    add(
        "--waiting",
        type=_positive,
        default=1_000_000,
        help="jobs waiting for `memory` and `waiting` (default: %(default)s)",
    )
    add("--seconds", type=float, default=30.0, help="length of `latency` and `retry` (default: %(default)g)")
    add("--delayed", type=_positive, default=1_000_000, help="jobs of `delay` (default: %(default)s)")
    add("--over", type=_over, default=600.0, help="seconds over which they fall due (default: %(default)g)")
    add("--session", type=float, help="seconds until a killed worker is missed (default: as the brokers have it)")
    add("--only", action="append", choices=[m.name for m in MEASURES], help="measure only this; repeatable")
    add("--strict", action="store_true", help="exit with 1 when a target is missed")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON")
    forms.add_argument("--markdown", dest="form", action="store_const", const="markdown", help="print Markdown tables")
    parser.set_defaults(form="text")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _over(text: str) -> float:
    seconds = float(text)
    if seconds < SHORTEST_OVER_S:
        raise argparse.ArgumentTypeError(f"it must be at least {SHORTEST_OVER_S:g}, since the worker is killed within")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
