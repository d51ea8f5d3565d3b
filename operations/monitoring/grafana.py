"""`grafana_document`: a dashboard as Grafana imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...producers.metrics import all_metrics as metrics
from ...producers.metrics.all_metrics import PIPELINE
from .panel import Dashboard, Panel

SCHEMA_VERSION: Final = 39
"""The schema of Grafana 11; later ones read it."""
COLUMNS: Final = 24
HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

Document = dict[str, Any]
"""JSON, whose shape is Grafana's."""


def grafana_document(dashboard: Dashboard) -> Document:
    """Build the JSON model. The data source is a variable, so that it fits any Grafana."""
    variables = [_datasource_variable(), _pipeline_variable(), *([_queue_variable()] if dashboard.by_queue else [])]
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.text,
        "tags": ["stoker"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "templating": {"list": variables},
        "links": [{"type": "dashboards", "tags": ["stoker"], "title": "Stoker", "keepTime": True, "asDropdown": True}],
        "panels": _panels(dashboard.panels),
    }


def _datasource_variable() -> Document:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def _pipeline_variable() -> Document:
    return {
        "name": PIPELINE,
        "label": "Pipeline",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metrics.INFO.name}, {PIPELINE})", "refId": "pipelines"},
        "refresh": 2,
        "sort": 1,
    }


def _queue_variable() -> Document:
    return {
        "name": "queue",
        "label": "Queue",
        "type": "query",
        "datasource": _SOURCE,
        "query": {
            "query": f'label_values({metrics.UNFINISHED.name}{{{PIPELINE}="${PIPELINE}"}}, queue)',
            "refId": "queues",
        },
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels(panels: Sequence[Panel]) -> list[Document]:
    """Lay them out from the left, line by line."""
    found: list[Document] = []
    left = top = 0
    for number, panel in enumerate(panels, start=1):
        if left + panel.width > COLUMNS:
            left, top = 0, top + HEIGHT
        found.append({"id": number, "gridPos": {"x": left, "y": top, "w": panel.width, "h": HEIGHT}, **_panel(panel)})
        left += panel.width
    return found


def _panel(panel: Panel) -> Document:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
        for at, query in enumerate(panel.queries)
    ]
    least = {"min": 0} if panel.kind == "timeseries" else {}
    most = {"max": 1} if panel.unit == "percentunit" else {}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, **least, **most}},
        "options": _options(panel),
    }


def _options(panel: Panel) -> Document:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}, "textMode": "value_and_name"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
