"""A run's report: on the terminal and as markdown for people, as JSON for programs."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from chaos.faults import SESSION_TIMEOUT_S
from chaos.judging.account import Finding, Strike
from chaos.judging.recovery import Recovery, summarise
from chaos.judging.verdict import Verdict
from chaos.stage import Wishes

SHOWN: Final = 20
KILL: Final = "kill_workers"
KILL_BOUND_S: Final = SESSION_TIMEOUT_S + 5.0


def write_report(folder: Path, wishes: Wishes, verdict: Verdict, strikes: Sequence[Strike], took_s: float) -> Path:
    """Write report.md and report.json; returns the former."""
    content = {
        "wishes": asdict(wishes),
        "machine": machine(),
        "seconds": round(took_s, 1),
        "jobs": verdict.jobs,
        "runs": verdict.runs,
        "dead_letters": verdict.dead_letters,
        "faults": Counter(strike.kind for strike in strikes),
        "runs_again": dict(verdict.reruns),
        "most_runs_again": verdict.most_reruns,
        "findings": [{"rule": finding.rule, "what": finding.what} for finding in verdict.findings],
        "shared": dict(verdict.shared.figures()),
        "recovered": [_recovery(found) for found in verdict.recovered],
    }
    (folder / "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    path = folder / "report.md"
    path.write_text("\n".join(lines(wishes, verdict, strikes, took_s)) + "\n", encoding="utf-8")
    return path


def lines(wishes: Wishes, verdict: Verdict, strikes: Sequence[Strike], took_s: float) -> Iterator[str]:
    """The report in words."""
    yield f"{machine()}; {wishes.nodes} Kafka node(s), {wishes.fleets} x {wishes.processes} worker processes, "
    yield f"{wishes.producers} producers; seed {wishes.seed}; {took_s:.0f} s"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in _figures(verdict, strikes):
        yield f"| {name} | {value} |"
    yield ""
    yield "| fault | times | runs again | seconds to full rate: p50 | max | p50 alone | max alone |"
    yield "|---|---|---|---|---|---|---|"
    yield from _rows(verdict, strikes)
    yield ""
    yield from _findings(verdict.findings)


def _figures(verdict: Verdict, strikes: Sequence[Strike]) -> Iterator[tuple[str, str]]:
    yield "jobs confirmed", f"{verdict.jobs:,}"
    yield "faults", f"{len(strikes):,}"
    yield "runs", f"{verdict.runs:,}"
    yield (
        "dead letters, all expected" if not verdict.count("dead letter") else "dead letters",
        f"{verdict.dead_letters:,}",
    )
    yield "lost", f"{verdict.count('lost', 'unconfirmed'):,}"
    yield "doubled through the inbox", f"{verdict.count('doubled'):,}"
    yield "out of order", f"{verdict.count('order', 'strict order', 'overlap'):,}"
    yield "attempts lost or invented", f"{verdict.count('attempts', 'quarantine'):,}"
    yield "runs again, each explained by a fault", f"{sum(verdict.reruns.values()):,}"
    yield "runs again that nothing explains", f"{verdict.count('re-run'):,}"
    yield "ended as cancelled", f"{verdict.cancelled:,}"
    yield "dropped as duplicates", f"{verdict.superfluous:,}"
    yield "unique jobs that ran in spite of another one", f"{verdict.count('unique'):,}"
    yield "begun although an answered order held them back", f"{verdict.count('paused', 'cancelled', 'early'):,}"
    yield "orders without their trace, or traces without order", f"{verdict.count('audit'):,}"
    yield "jobs of schedules", f"{verdict.fired:,}"
    yield "fired twice, early, or in a pause", f"{verdict.count('fired twice', 'fired early', 'fired in pause'):,}"
    yield "fired never, or lost", f"{verdict.count('fired never', 'schedule lost'):,}"
    yield "begun beside the job before, which had not ended", f"{verdict.count('schedule overlap'):,}"
    yield from verdict.shared.figures()
    most, flying = verdict.most_reruns
    yield "most runs again by one crash (in flight at it)", f"{most} ({flying})"
    yield "worker processes that ended on their own", f"{verdict.count('died'):,}"
    alone = [found for found in verdict.recovered if found.strike.kind == KILL and found.is_alone]
    kept = sum(found.seconds is not None and found.seconds <= KILL_BOUND_S for found in alone)
    yield (
        f"kills of workers alone: full rate within {KILL_BOUND_S:g} s (session timeout + 5 s)",
        f"{kept} of {len(alone)}",
    )


def _rows(verdict: Verdict, strikes: Sequence[Strike]) -> Iterator[str]:
    counts = Counter(strike.kind for strike in strikes)
    if verdict.job_deaths:
        counts["job_death"] = verdict.job_deaths
    whole = summarise(verdict.recovered)
    alone = summarise([found for found in verdict.recovered if found.is_alone])
    for kind, count in sorted(counts.items()):
        cells = [*_pair(whole.get(kind)), *_pair(alone.get(kind))]
        yield f"| {kind} | {count} | {verdict.reruns.get(kind, 0)} | " + " | ".join(cells) + " |"
    seconds = [math.inf if found.seconds is None else found.seconds for found in verdict.recovered]
    if seconds:
        cells = [*_pair((statistics.median(seconds), max(seconds)))]
        yield f"| all | {len(strikes)} | {sum(verdict.reruns.values())} | " + " | ".join(cells) + " | | |"


def _pair(figures: tuple[float, float] | None) -> tuple[str, str]:
    return ("-", "-") if figures is None else (f"{figures[0]:.1f}", f"{figures[1]:.1f}")


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "No guarantee was broken."
        return
    counts = Counter(finding.rule for finding in findings)
    yield "Broken: " + ", ".join(f"{rule} {count:,}" for rule, count in counts.items())
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.rule] += 1
        if shown[finding.rule] <= SHOWN:
            yield f"- {finding.rule}: {finding.what}"


def _recovery(found: Recovery) -> dict[str, object]:
    return {
        "kind": found.strike.kind,
        "detail": found.strike.detail,
        "begin_s": round(found.strike.begin_s, 2),
        "lasted_s": round(found.strike.end_s - found.strike.begin_s, 2),
        "seconds": None if found.seconds is None else round(found.seconds, 1),
        "is_alone": found.is_alone,
    }


def machine() -> str:
    """The hardware, as far as the system tells."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        said = []
    named = [line.partition(":")[2].strip() for line in said if "model name" in line]
    cpu = named[0] if named else platform.processor() or platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"
