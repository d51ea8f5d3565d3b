"""`Responsible`: who answers for what an alert is about, by its labels, as the pipeline declares it.

An alert rule is one for all queues and job types, so the label `owner` is a template: Prometheus looks at the labels of
the series that fires, and takes the name of the owner that fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...producers.metrics.all_metrics import PIPELINE
from ..catalogue.owners import Owner

if TYPE_CHECKING:
    from ...topology import Pipeline, Queue
    from ...topology.declaration.job_type import AnyJobType

Fact = Literal["owner", "runbook", "escalation"]
ByValue = Mapping[str, Owner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Responsible:
    """The owners of a pipeline.

    Attributes:
        pipeline: its namespace; alerts of others are not theirs.
        by_label: {label: {its value: owner}}; the first label that an alert has and that is named here decides.
        otherwise: the owner of all other alerts; empty where there is none.
    """

    pipeline: str
    by_label: Mapping[str, ByValue]
    otherwise: str = ""

    def text(self, fact: Fact, labels: Mapping[str, str]) -> str:
        """The fact as a rule has it.

        Args:
            labels: those that the rule itself gives its alerts; templates do not see them.
        """
        for label, owners in self.by_label.items():
            if labels.get(label) in owners:
                found: str = getattr(owners[labels[label]], fact)
                return _shown(found or self._otherwise(fact))
        return self.template(fact)

    def _otherwise(self, fact: Fact) -> str:
        return self.otherwise if fact == "owner" else ""

    def template(self, fact: Fact) -> str:
        """A template of Prometheus that gives the fact; empty where no owner has one.

        >>> Responsible(pipeline="shop", by_label={"type": {"act": Owner(owner="ann")}}).template("owner")
        '{{ if eq (print $labels.pipeline "/" $labels.type) "shop/act" }}{{ "ann" }}{{ end }}'
        """
        otherwise = self._otherwise(fact)
        clauses = [clause for label, owners in self.by_label.items() for clause in self._clauses(label, owners, fact)]
        if not clauses:
            return _shown(otherwise)
        last = f"{{{{ else }}}}{_shown(otherwise)}" if otherwise else ""
        return f"{{{{ {'{{ else '.join(clauses)}{last}{{{{ end }}}}"

    def _clauses(self, label: str, owners: ByValue, fact: Fact) -> Iterator[str]:
        by_text: dict[str, list[str]] = {}
        for value, owner in owners.items():
            text = getattr(owner, fact)
            if text:
                by_text.setdefault(text, []).append(value)
        for text, values in by_text.items():
            named = " ".join(json.dumps(f"{self.pipeline}/{value}") for value in values)
            yield f'if eq (print $labels.{PIPELINE} "/" $labels.{label}) {named} }}}}{_shown(text)}'


def _shown(text: str) -> str:
    """A text that may hold braces, as a template writes it."""
    return f"{{{{ {json.dumps(text)} }}}}" if text else ""


def responsible(pipeline: Pipeline, otherwise: str = "") -> Responsible:
    """Find who answers for the job types, breakers and queues of a pipeline.

    A queue or a dependency that several owners use is that of none of them, unless the queue declares its own.
    """
    job_types = list(pipeline.job_types.values())
    needs = {need for job_type in job_types for need in job_type.needs}
    breakers = {f"job type {job_type.name!r}": _owner(job_type) for job_type in job_types}
    breakers |= {f"dependency {need!r}": _shared(one for one in job_types if need in one.needs) for need in needs}
    return Responsible(
        pipeline=pipeline.namespace,
        by_label={
            "type": {job_type.name: _owner(job_type) for job_type in job_types},
            "breaker": breakers,
            "queue": {queue.name: _of_queue(queue, job_types) for queue in pipeline.queues.values()},
        },
        otherwise=otherwise,
    )


def _of_queue(queue: Queue, job_types: Iterable[AnyJobType]) -> Owner:
    declared = _owner(queue)
    return declared if declared.owner else _shared(one for one in job_types if one.queue.name == queue.name)


def _shared(job_types: Iterable[AnyJobType]) -> Owner:
    owners = {_owner(job_type) for job_type in job_types}
    return owners.pop() if len(owners) == 1 else Owner()


def _owner(declared: Queue | AnyJobType) -> Owner:
    return Owner(owner=declared.owner, runbook=declared.runbook, escalation=declared.escalation)
