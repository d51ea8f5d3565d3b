"""The report: a table for each measure and a line for each target, as text, Markdown or JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from figures import Figure, Measure, Sizes, Values

HEADINGS = ("", "min", "median", "max", "by round")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rounds of all measures.

    Attributes:
        rounds: {measure's name: values of each round}.
    """

    machine: str
    sizes: Sizes
    measures: Sequence[Measure]
    rounds: Mapping[str, Sequence[Values]]

    def values(self, measure: Measure, figure: Figure) -> list[float]:
        """One figure in all rounds."""
        return [values[figure.name] for values in self.rounds[measure.name]]

    @property
    def misses(self) -> int:
        """How many targets are missed."""
        return sum(not figure.target.is_met(values) for _, figure, values in self._figures() if figure.target)

    def _figures(self) -> list[tuple[Measure, Figure, list[float]]]:
        return [(m, figure, self.values(m, figure)) for m in self.measures for figure in m.figures]

    def _row(self, measure: Measure, figure: Figure) -> tuple[str, ...]:
        values = self.values(measure, figure)
        three = (min(values), statistics.median(values), max(values))
        return figure.label, *map(figure.show, three), " · ".join(map(figure.show, values))

    def _targets(self) -> list[str]:
        return [_target_line(measure, figure, values) for measure, figure, values in self._figures() if figure.target]

    def text(self) -> str:
        """For a terminal."""
        parts = [self.machine]
        for measure in self.measures:
            rows = [HEADINGS, *(self._row(measure, figure) for figure in measure.figures)]
            parts.append(f"{measure.name}: {measure.title(self.sizes)}\n" + _aligned(rows))
        if targets := self._targets():
            parts.append("targets\n" + "\n".join(f"  {line}" for line in targets))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """The tables to be pasted into docs/benchmarks.md."""
        parts = [f"Machine: {self.machine}."]
        for measure in self.measures:
            rows = ["| | min | median | max | by round |", "|---|---:|---:|---:|---|"]
            rows += [f"| {' | '.join(self._row(measure, figure))} |" for figure in measure.figures]
            parts.append(f"**{measure.name}**: {measure.title(self.sizes)}.\n\n" + "\n".join(rows))
        if targets := self._targets():
            parts.append("Targets:\n\n" + "\n".join(f"- {line}" for line in targets))
        return "\n\n".join(parts)

    def json(self) -> str:
        """For programs."""
        targets = [
            {
                "measure": measure.name,
                "figure": figure.name,
                **asdict(figure.target),
                "value": figure.target.judged(values),
                "met": figure.target.is_met(values),
            }
            for measure, figure, values in self._figures()
            if figure.target
        ]
        content = {
            "machine": self.machine,
            "sizes": asdict(self.sizes),
            "rounds": {name: list(rounds) for name, rounds in self.rounds.items()},
            "targets": targets,
        }
        return json.dumps(content, indent=2)


def _target_line(measure: Measure, figure: Figure, values: Sequence[float]) -> str:
    target = figure.target
    if target is None:
        return ""
    verdict = "met   " if target.is_met(values) else "missed"
    judged, bound = figure.show(target.judged(values)), figure.show(target.bound)
    return f"{verdict} {measure.name}: {figure.label}: {target.judged_by} {judged}, wanted {target.sense} {bound}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for label, *numbers, by_round in rows:
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append(f"  {label:<{widths[0]}}  {'  '.join(cells)}   {by_round}".rstrip())
    return "\n".join(lines)
