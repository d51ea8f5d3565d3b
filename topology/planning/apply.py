"""Apply a plan: create, grow and configure its topics, wait until the topics can be used, then register the contracts.

Everything here may be done twice, by two at once, or again after it stopped half-way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from ...schemas.own_records.audit_entries import Phase
from ..cluster.admin import Administration
from ..cluster.audit_writer import AuditUnwritable
from ..cluster.settings import ClusterSettings
from ..counts import counted
from ..declaration.pipeline import Pipeline
from ..declaration.topics import Role
from .findings import (
    NOTHING,
    Allowed,
    CreateTopic,
    DeleteTier,
    GrowTopic,
    Plan,
    PlanFinding,
    SetConfig,
    SetGroupConfig,
    Step,
)
from .group_settings import refused_setting
from .plan import plan_topics
from .recording import RECORDED, ActionRecord, Recording, audit_writer, topology_entry
from .registration import register_contracts

S = TypeVar("S", bound=Step)

VISIBLE_TIMEOUT_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.05
_NOT_ALONE: Final = "it was not grown, since another topic of its queue could not be created or grown"


class ApplyFailed(Exception):
    """Some steps failed and the rest is done; fix the causes and apply again, which does what is left.

    Attributes:
        failures: {topic: why}.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        listed = "".join(f"\n  - {topic}: {reason}" for topic, reason in failures.items())
        super().__init__(
            f"these topics could not be changed to what is declared:{listed}\n"
            "The others are done. Fix the causes and run `stoker topology apply` again: it does what is left."
        )
        self.failures = dict(failures)


class TopologyRefused(Exception):
    """The plan holds changes that could lose data or order, so nothing was done; allow them by name, or undo them.

    Attributes:
        findings: what is refused.
    """

    def __init__(self, findings: Iterable[PlanFinding]) -> None:
        self.findings = tuple(findings)
        listed = "".join(f"\n  - {finding.line()}" for finding in self.findings)
        super().__init__(
            f"these changes could lose data or order, so none was made:{listed}\n"
            "Allow each by its name, or undo it in the declaration."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The changes that were made, by topic.

    Attributes:
        configured: {topic, or "group" and its name: {config: value}}.
        kept: removed tiers that were to be deleted, but got jobs in the meantime.
    """

    created: tuple[str, ...] = ()
    grown: tuple[str, ...] = ()
    configured: Mapping[str, Mapping[str, str]]
    deleted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def ensure_topology(
    pipeline: Pipeline, cluster: ClusterSettings, allowed: Allowed = NOTHING, recording: Recording = RECORDED
) -> Plan:
    """Plan, apply and register in one go, for programs; returns the plan that was carried out.

    Args:
        recording: who applies it, and why, for the audit topic.

    Raises:
        TopologyRefused: something is refused, and nothing was done.
        AuditUnwritable: the audit topic does not take the entry, and what it is about was not done.
        ApplyFailed: some steps failed.
        IncompatibleSchema: a contract breaks its rule; topics and the contracts before it are done.
        ClusterUnreachable, NotAuthorized: the cluster does not answer.
    """
    planned = plan_topics(pipeline, cluster, allowed)
    if planned.refused:
        raise TopologyRefused(planned.refused)
    apply(planned, cluster, recording)
    for refusal in register_contracts(pipeline, cluster, recording):
        raise refusal
    return planned


def apply(
    planned: Plan,
    cluster: ClusterSettings,
    recording: Recording = RECORDED,
    *,
    timeout_s: float = VISIBLE_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Applied:
    """Do the plan's steps, and return when the brokers show all of it: partitions with leaders, settings, and no
    topic that was deleted.

    What is refused is left alone. The audit topic has an entry before the first change, and one after the last; where
    it is missing, it is created before that.

    Args:
        recording: who applies it, and why.
        timeout_s: how long to wait for that.

    Raises:
        ApplyFailed: some steps failed or the brokers did not show one in time; the others are done.
        AuditUnwritable: the audit topic does not take the entry, and nothing was changed.
        ClusterUnreachable: no broker answers (any more).
    """
    deadline = _Deadline(timeout_s, clock, sleep)
    if not (planned.steps and recording.is_audited):
        return _carry_out(planned, cluster, deadline)
    audit, others = _apart(planned)
    try:
        created = _carry_out(audit, cluster, deadline).created if audit.steps else ()
    except ApplyFailed as failed:
        raise AuditUnwritable(*next(iter(failed.failures.items()))) from failed
    with audit_writer(planned, cluster) as writer:
        record = ActionRecord(topology_entry(planned, recording), writer)
        record.begin()
        try:
            applied = _carry_out(others, cluster, deadline)
        except ApplyFailed as failed:
            record.end(Phase.FAILED, {"failures": "; ".join(f"{name}: {why}" for name, why in failed.failures.items())})
            raise
        record.end(Phase.ENDED, {"kept": ", ".join(applied.kept)} if applied.kept else {})
    return replace(applied, created=(*created, *applied.created))


def _apart(planned: Plan) -> tuple[Plan, Plan]:
    """The creation of the audit topic, and all else."""
    audit = tuple(found for found in planned.findings if _creates_audit(found))
    others = tuple(found for found in planned.findings if not _creates_audit(found))
    return replace(planned, findings=audit), replace(planned, findings=others)


def _creates_audit(finding: PlanFinding) -> bool:
    return isinstance(finding.step, CreateTopic) and finding.step.spec.role is Role.AUDIT


def _carry_out(planned: Plan, cluster: ClusterSettings, deadline: _Deadline) -> Applied:
    administration = Administration(cluster)
    creating = [step.spec for step in _steps(planned, CreateTopic)]
    growing = _steps(planned, GrowTopic)
    configs = _configs(_steps(planned, SetConfig))
    failures = _grow(growing, administration.create(creating), administration) | administration.set_configs(configs)
    groups = _group_configs(_steps(planned, SetGroupConfig))
    failures |= {
        f"group {name}": refused_setting(why) for name, why in administration.set_group_configs(groups).items()
    }
    deleted, kept = _delete(_steps(planned, DeleteTier), administration, failures)
    wanted = {spec.name: spec.partitions for spec in creating} | {step.topic: step.partitions for step in growing}
    awaited = _Awaited(partitions=wanted, configs=configs, groups=groups, gone=deleted)
    failures |= _wait_shown(awaited.without(failures), administration, deadline)
    if failures:
        raise ApplyFailed(failures)
    return Applied(
        created=tuple(spec.name for spec in creating),
        grown=tuple(step.topic for step in growing),
        configured={**configs, **{f"group {name}": values for name, values in groups.items()}},
        deleted=deleted,
        kept=kept,
    )


def _grow(growing: Sequence[GrowTopic], uncreated: Mapping[str, str], administration: Administration) -> dict[str, str]:
    """Grow topics, where those of its queue that should be there are there; {topic: why not}, with the uncreated ones.

    The main topic grows last: a record in a new partition must find its ledger and tiers there.
    """
    failures = {**uncreated, **administration.grow({one.topic: one.partitions for one in growing if not one.is_main})}
    main = {one.topic: one.partitions for one in growing if one.is_main}
    failures |= {topic: _NOT_ALONE for topic in main if any(other.startswith(f"{topic}.") for other in failures)}
    return failures | administration.grow({topic: count for topic, count in main.items() if topic not in failures})


def _steps(planned: Plan, kind: type[S]) -> list[S]:
    return [step for step in planned.steps if isinstance(step, kind)]


def _configs(steps: Iterable[SetConfig]) -> dict[str, dict[str, str]]:
    merged: dict[str, dict[str, str]] = {}
    for step in steps:
        merged.setdefault(step.topic, {})[step.name] = step.value
    return merged


def _group_configs(steps: Iterable[SetGroupConfig]) -> dict[str, dict[str, str]]:
    merged: dict[str, dict[str, str]] = {}
    for step in steps:
        merged.setdefault(step.group, {})[step.name] = step.value
    return merged


def _delete(
    steps: list[DeleteTier], administration: Administration, failures: dict[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Look once more before each topic goes: a worker of an older release may have put a job there since."""
    counts = {name: found.partitions for name, found in administration.topics([step.topic for step in steps]).items()}
    kept: list[str] = []
    empty: list[str] = []
    for step in steps:
        if step.topic in counts:
            for topic, jobs in administration.waiting({step.topic: counts[step.topic]}, step.group).items():
                (kept if jobs else empty).append(topic)
    refused = administration.delete(empty)
    failures |= refused
    return tuple(topic for topic in empty if topic not in refused), tuple(kept)


@dataclass(frozen=True, slots=True)
class _Deadline:
    timeout_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Awaited:
    """Changes that the brokers took.

    Those are {topic: partitions}, {topic: {config: value}}, {group: {setting: value}}, and deleted topics.
    """

    partitions: Mapping[str, int]
    configs: Mapping[str, Mapping[str, str]]
    groups: Mapping[str, Mapping[str, str]]
    gone: Collection[str]

    def without(self, failures: Collection[str]) -> _Awaited:
        """A copy without the changes that have failed."""
        return _Awaited(
            partitions={topic: count for topic, count in self.partitions.items() if topic not in failures},
            configs={topic: values for topic, values in self.configs.items() if topic not in failures},
            groups={group: values for group, values in self.groups.items() if f"group {group}" not in failures},
            gone=[topic for topic in self.gone if topic not in failures],
        )


def _wait_shown(awaited: _Awaited, administration: Administration, deadline: _Deadline) -> dict[str, str]:
    """Wait until the brokers show all of it; {topic or group: why not} of the rest.

    The controller answers first, and each broker shows a change a moment after that.
    """
    give_up = deadline.clock() + deadline.timeout_s
    while late := _not_shown(awaited, administration):
        if deadline.clock() >= give_up:
            return {name: f"{why} after {deadline.timeout_s:g} s" for name, why in late.items()}
        deadline.sleep(_LOOK_AGAIN_S)
    return {}


def _not_shown(awaited: _Awaited, administration: Administration) -> dict[str, str]:
    topics = {name: found.values for name, found in administration.configs(awaited.configs).items()}
    groups = administration.group_configs(awaited.groups)
    unset = [
        *((name, values, topics.get(name, {})) for name, values in awaited.configs.items()),
        *((f"group {name}", values, groups.get(name, {})) for name, values in awaited.groups.items()),
    ]
    late = {
        name: "the brokers still show other settings"
        for name, asked, held in unset
        if not asked.items() <= held.items()
    }
    left = dict.fromkeys(administration.topics(awaited.gone), "the brokers still show the deleted topic")
    return late | left | _unusable(awaited.partitions, administration)


def _unusable(wanted: Mapping[str, int], administration: Administration) -> dict[str, str]:
    found = administration.topics(wanted)
    late = {}
    for topic, count in wanted.items():
        state = found.get(topic)
        if state is None:
            late[topic] = "the brokers still do not show it"
        elif state.partitions != count:
            late[topic] = f"it has {counted(state.partitions, 'partition')}, not {count},"
        elif state.leaderless:
            late[topic] = f"{state.leaderless} of its partitions have no leader"
    return late
