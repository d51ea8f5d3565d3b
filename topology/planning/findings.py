"""`Plan` and its findings: each difference between declaration and cluster, with what apply does about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ...schemas import IncompatibleSchema
from ..counts import counted
from ..declaration.topics import TopicSpec


class Group(StrEnum):
    """The meaning of a finding for the reader.

    create, change: apply does it. drift: the cluster differs, and apply leaves it alone. refused: it could lose data
    or order, so apply leaves it alone unless its flag names the queue. unmanaged: of this namespace, but not declared.
    """

    CREATE = "create"
    CHANGE = "change"
    DRIFT = "drift"
    REFUSED = "refused"
    UNMANAGED = "unmanaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopic:
    """Create the topic as declared."""

    spec: TopicSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfig:
    """Set one config of a topic."""

    topic: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetGroupConfig:
    """Set one setting of a consumer group."""

    group: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowTopic:
    """Give a topic more partitions, for `partitions` in all; a queue's main topic is grown last."""

    topic: str
    partitions: int
    is_main: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTier:
    """Delete the topic of a removed tier, if it is still empty for the group when it is about to be deleted."""

    topic: str
    group: str


Step = CreateTopic | SetConfig | SetGroupConfig | GrowTopic | DeleteTier


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFinding:
    """One difference between declaration and cluster.

    Attributes:
        topic: where; the main topic, when it is about all topics of a queue.
        owner: name of the queue, or `schemas` or `events`; None when it belongs to nothing declared.
        setting: a config's name, `partitions`, `replication`, `routing` or `topic`.
        found, declared: its two values in words; None where there is none.
        reason: why it is so, or what to do; a clause without full stop.
        flag: the option of `stoker topology apply` that allows what is refused; None if nothing does.
        step: what apply does about it; None when it leaves it alone.
    """

    group: Group
    topic: str
    owner: str | None
    setting: str
    found: str | None
    declared: str | None
    reason: str
    flag: str | None = None
    step: Step | None = None

    def line(self) -> str:
        """The finding in one line."""
        flag = f"; `{self.flag}` allows it" if self.flag else ""
        return f"{self.topic}: {self._difference()}{self.reason}{flag}"

    def _difference(self) -> str:
        if self.setting == "topic":
            return ""
        if self.declared is None:
            return f"{self.setting} {self.found}: "
        return f"{self.setting} {self.found}, declared {self.declared}: "

    def to_json(self) -> dict[str, str | None]:
        """The finding as JSON data; the group is left to the place it stands in."""
        return {
            "topic": self.topic,
            "queue": self.owner,
            "setting": self.setting,
            "found": self.found,
            "declared": self.declared,
            "reason": self.reason,
            "flag": self.flag,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The changes that are allowed although they may lose data or order, by name of the queue.

    Attributes:
        repartition: more partitions, which moves keys.
        reroute: another `route_by`, which moves keys and tenants.
        shorter_retention: records go earlier; `events` names the pipeline's topic of events.
        tier_removal: jobs that wait in a removed tier or priority are abandoned there, unread, until its retention
            deletes them.
        empty_tier_deletion: delete the topics of removed tiers that hold no waiting jobs, of all queues.
    """

    repartition: frozenset[str] = field(default_factory=frozenset)
    reroute: frozenset[str] = field(default_factory=frozenset)
    shorter_retention: frozenset[str] = field(default_factory=frozenset)
    tier_removal: frozenset[str] = field(default_factory=frozenset)
    empty_tier_deletion: bool = False


NOTHING: Final = Allowed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All differences between a declaration and a cluster, with the steps that fix them.

    Attributes:
        contracts: those that the cluster would refuse to register.
    """

    namespace: str
    findings: tuple[PlanFinding, ...]
    contracts: tuple[IncompatibleSchema, ...] = ()

    def of(self, group: Group) -> tuple[PlanFinding, ...]:
        """The findings of one group."""
        return tuple(finding for finding in self.findings if finding.group is group)

    @property
    def refused(self) -> tuple[PlanFinding, ...]:
        """The findings that apply leaves alone until they are allowed by name."""
        return self.of(Group.REFUSED)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The findings that apply acts on."""
        return tuple(finding.step for finding in self.findings if finding.step is not None)

    @property
    def is_refused(self) -> bool:
        """Whether apply would leave anything undone: a change that could lose data or order, or a contract."""
        return bool(self.refused or self.contracts)

    @property
    def is_empty(self) -> bool:
        """Whether apply has nothing to do and nothing is refused; drift may remain."""
        return not self.steps and not self.is_refused

    def to_json(self) -> dict[str, object]:
        """{"namespace", then each group's findings as a list, then "refused_schemas"}."""
        groups = {group.value: [finding.to_json() for finding in self.of(group)] for group in Group}
        return {"namespace": self.namespace, **groups, "refused_schemas": refused_schemas(self.contracts)}

    def summary(self) -> str:
        """Count the groups in one line."""
        counts: Mapping[Group, int] = {group: len(self.of(group)) for group in Group}
        contracts = f"{counted(len(self.contracts), 'contract')} refused"
        if not any(counts.values()):
            return f"{self.namespace}: the cluster is as declared{f', but {contracts}' if self.contracts else ''}"
        return (
            f"{self.namespace}: {counts[Group.CREATE]} to create, {counts[Group.CHANGE]} to change, "
            f"{counts[Group.DRIFT]} drifted, {counts[Group.REFUSED]} refused, "
            f"{counts[Group.UNMANAGED]} unmanaged{f', {contracts}' if self.contracts else ''}"
        )


def refused_schemas(contracts: Iterable[IncompatibleSchema]) -> list[dict[str, str]]:
    """Refused contracts as JSON data."""
    return [
        {"job_type": found.job_type, "rule": found.rule, "field": found.field, "reason": found.explanation}
        for found in contracts
    ]
