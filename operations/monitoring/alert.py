"""`Alert` and `RecordingRule`: one rule of Prometheus each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["critical", "warning"]
"""`critical`: jobs stand still or may be lost, wake somebody. `warning`: look at it in working hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRule:
    """A series that Prometheus computes for several alerts.

    Attributes:
        name: of the series, in Prometheus' manner `level:metric:operations`.
        expr: PromQL.
        labels: further labels of the series.
    """

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A state that an operator has to look at.

    Attributes:
        name: also the heading of its runbook in `docs/monitoring.md`.
        expr: PromQL; each series of its result is one alert.
        lasts: how long it must hold, so that a hiccup raises nothing; as Prometheus writes a duration.
        summary: one line; `{{ $labels.queue }}` stands for a label, `{{ $value }}` for the value.
        description: what it means, in a sentence or two.
        labels: further labels, such as the queue where `expr` gives none.
    """

    name: str
    severity: Severity
    expr: str
    lasts: str
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)
