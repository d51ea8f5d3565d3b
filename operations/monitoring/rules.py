"""`rule_groups`: the rules as Prometheus reads them. `yaml_text` writes them as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from .alert import Alert, Recording
from .alerts import ALERTS, RECORDINGS
from .declared_alerts import DEFAULT_RETENTION, retention_near

RUNBOOKS: Final = "docs/monitoring.md"
Rule = dict[str, str | dict[str, str]]
Groups = dict[str, list[dict[str, str | list[Rule]]]]


def all_alerts(declared: Sequence[Alert] = ()) -> list[Alert]:
    """List all alerts; those of a declaration stand in place of the general ones of their names."""
    general = [*ALERTS, retention_near(DEFAULT_RETENTION)]
    replaced = {alert.name for alert in declared}
    return [*(alert for alert in general if alert.name not in replaced), *declared]


def rule_groups(alerts: Iterable[Alert], *, runbooks: str = RUNBOOKS) -> Groups:
    """Build the content of a rules file.

    Args:
        runbooks: address of `docs/monitoring.md`, to which the headings of the alerts are added.
    """
    recordings: list[Rule] = [_recording(one) for one in RECORDINGS]
    rules: list[Rule] = [_alert(one, runbooks) for one in alerts]
    return {"groups": [{"name": "stoker-recordings", "rules": recordings}, {"name": "stoker-alerts", "rules": rules}]}


def _recording(recording: Recording) -> Rule:
    return {"record": recording.name, "expr": recording.expr}


def _alert(alert: Alert, runbooks: str) -> Rule:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": {"severity": alert.severity, **alert.labels},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook or f"{runbooks}#{alert.name.lower()}",
        },
    }


def yaml_text(groups: Groups) -> str:
    """Write the rules as YAML. All values are texts, and a text of JSON is one of YAML as well."""
    return "\n".join(_lines(groups)) + "\n"


def _lines(groups: Groups) -> Iterator[str]:
    yield "groups:"
    for group in groups["groups"]:
        yield f"  - name: {group['name']}"
        yield "    rules:"
        for rule in group["rules"]:
            assert isinstance(rule, dict)
            yield from _rule_lines(rule)


def _rule_lines(rule: Mapping[str, str | Mapping[str, str]]) -> Iterator[str]:
    begin = "      - "
    for name, value in rule.items():
        if isinstance(value, str):
            yield f"{begin}{name}: {_text(value)}"
        else:
            yield f"{begin}{name}:"
            yield from (f"          {key}: {_text(text)}" for key, text in value.items())
        begin = "        "


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
