"""`Dashboard`, `Panel` and `Query`: what a dashboard shows, before it is written for Grafana."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PanelUnit = Literal["short", "s", "bytes", "percentunit", "ops"]
"""As Grafana names them: a number, seconds, bytes, a ratio from 0 to 1, per second."""
PanelKind = Literal["timeseries", "stat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression of a panel.

    Attributes:
        expr: PromQL; `$pipeline` and `$queue` stand for what is chosen, `$__rate_interval` for a length of time.
        legend: the name of each series; `{{queue}}` stands for a label.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture.

    Attributes:
        text: what it shows, for whoever points at its title.
        width: of 24 columns.
    """

    title: str
    text: str
    unit: PanelUnit
    queries: tuple[Query, ...]
    kind: PanelKind = "timeseries"
    width: int = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One page of Grafana.

    Attributes:
        name: by which the command prints it.
        uid: by which Grafana knows it: a new version takes the place of the old one.
        by_queue: whether queues can be chosen.
    """

    name: str
    uid: str
    title: str
    text: str
    by_queue: bool
    panels: tuple[Panel, ...]
