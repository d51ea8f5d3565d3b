"""`all_rules`: the rules as Prometheus reads them. `yaml_text` writes them as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from .alert import Alert, RecordingRule
from .alerts import ALERTS, RECORDINGS
from .declared_alerts import DEFAULT_RETENTION, declared_alerts, retention_near
from .responsible import Fact, Responsible, responsible
from .slo_alerts import slo_alerts, slo_recordings, slo_rules

if TYPE_CHECKING:
    from ...topology import Pipeline

RUNBOOKS: Final = "docs/monitoring.md"
OWNERS_FACTS: Final[tuple[Fact, ...]] = ("runbook", "escalation")
"""Facts that an owner declares, and that stand in annotations."""
Rule = dict[str, str | dict[str, str]]
Groups = dict[str, list[dict[str, str | list[Rule]]]]


def all_alerts(declared: Sequence[Alert] = ()) -> list[Alert]:
    """List all alerts; those of a declaration stand in place of the general ones of their names."""
    general = [*ALERTS, retention_near(DEFAULT_RETENTION)]
    replaced = {alert.name for alert in declared}
    return [*(alert for alert in general if alert.name not in replaced), *declared]


def all_rules(pipeline: Pipeline | None = None, *, runbooks: str = RUNBOOKS, owner: str = "") -> Groups:
    """Build the content of a rules file.

    Args:
        pipeline: whose queues, promises and owners have rules and labels of their own.
        runbooks: address of `docs/monitoring.md`, to which the headings of the alerts are added.
        owner: of the alerts for which the pipeline declares none.
    """
    if pipeline is None:
        return _groups(RECORDINGS, all_alerts(), Responsible(pipeline="", by_label={}, otherwise=owner), runbooks)
    burning = slo_rules(pipeline)
    alerts = all_alerts([*declared_alerts(pipeline), *slo_alerts(pipeline.namespace, burning)])
    return _groups(
        [*RECORDINGS, *slo_recordings(pipeline.namespace, burning)], alerts, responsible(pipeline, owner), runbooks
    )


def _groups(recordings: Iterable[RecordingRule], alerts: Iterable[Alert], owners: Responsible, runbooks: str) -> Groups:
    recorded: list[Rule] = [_recording(one) for one in recordings]
    rules: list[Rule] = [_alert(one, owners, runbooks) for one in alerts]
    return {"groups": [{"name": "stoker-recordings", "rules": recorded}, {"name": "stoker-alerts", "rules": rules}]}


def _recording(recording: RecordingRule) -> Rule:
    labels = {"labels": dict(recording.labels)} if recording.labels else {}
    return {"record": recording.name, "expr": recording.expr, **labels}


def _alert(alert: Alert, owners: Responsible, runbooks: str) -> Rule:
    facts: dict[str, str] = {fact: owners.text(fact, alert.labels) for fact in OWNERS_FACTS}
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": _given({"severity": alert.severity, "owner": owners.text("owner", alert.labels), **alert.labels}),
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{runbooks}#{alert.name.lower()}",
            **_given(facts),
        },
    }


def _given(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}


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
