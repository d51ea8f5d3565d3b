"""The table of all metrics in docs/metrics.md, made of the catalogue; `make reference` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stoker.producers.metrics.all_metrics import METRICS, Metric

PAGE: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN: Final = "<!-- made of producers/metrics/all_metrics.py: `make reference` writes it -->\n"
END: Final = "<!-- end -->\n"


def metrics_page() -> str:
    """The whole page, as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{_table()}{END}{after}"


def _table() -> str:
    rows = ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|", *map(_row, METRICS)]
    return "\n".join(rows) + "\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.text} |"
