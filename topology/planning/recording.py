"""`Recording`: who changes something and why, and the entries of it on the audit topic, before the change and after."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from ...schemas.own_records.audit_entries import AuditEntry, Phase
from ..actor import Actor
from ..cluster.audit_writer import AuditUnwritable, AuditWriter
from ..cluster.settings import ClusterSettings
from ..wire import names
from .findings import Plan, PlanFinding

TOPOLOGY_APPLIED: Final = "topology-applied"
"""The action of an entry about changes of topics and groups."""
MOST_CHANGES: Final = 500
"""Changes of one apply that an entry names at most."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """How a change is put on record.

    Attributes:
        actor: who makes it; None takes that of the process.
        reason: why, for those who read it later.
        is_audited: False makes it without the audit topic, for the case that it cannot be written to.
    """

    actor: Actor | None = None
    reason: str = ""
    is_audited: bool = True


RECORDED: Final = Recording()
"""By this process, for no reason that it names."""


class ActionRecord:
    """The entries of one action: one before its first change, and one at its end. The audit topic must be there."""

    def __init__(self, begun: AuditEntry, writer: AuditWriter) -> None:
        self._begun, self._writer = begun, writer

    def begin(self) -> None:
        """Put on record what is about to be changed.

        Raises:
            AuditUnwritable: the brokers have not confirmed the entry.
        """
        self._writer.write(self._begun)

    def end(self, phase: Phase, detail: Mapping[str, str]) -> None:
        """Put on record how it ended. Where that cannot be written, the first entry stands, with its end unknown."""
        more = {**self._begun.detail, **detail}
        try:
            self._writer.write(replace(self._begun, phase=phase, at=datetime.now(UTC), detail=more))
        except AuditUnwritable as failed:
            _LOGGER.error("%s is done, and its audit entry has no end: %s", self._begun.action, failed.reason)


def begun_entry(action: str, recording: Recording, *, queue: str = "") -> AuditEntry:
    """The entry that an action is about to be done, now; what it changes is to be put in."""
    by, now = recording.actor or Actor.of_process(), datetime.now(UTC)
    return AuditEntry(
        action_id=str(uuid.uuid4()),
        action=action,
        phase=Phase.BEGUN,
        at=now,
        began=now,
        operator=by.operator,
        host=by.host,
        command=by.command,
        version=by.version,
        reason=recording.reason,
        queue=queue,
    )


def topology_entry(planned: Plan, recording: Recording) -> AuditEntry:
    """The entry that a plan is about to be carried out."""
    changes = [finding for finding in planned.findings if finding.step is not None]
    return replace(
        begun_entry(TOPOLOGY_APPLIED, recording),
        before={_what(one): one.found for one in changes[:MOST_CHANGES] if one.found is not None},
        after={_what(one): _declared(one) for one in changes[:MOST_CHANGES]},
        detail={"changes": str(len(changes))},
    )


def audit_writer(planned: Plan, cluster: ClusterSettings) -> AuditWriter:
    """Open the writer of the plan's pipeline; nothing is connected before its first entry."""
    return AuditWriter(cluster, names.audit_topic(planned.namespace))


def _what(finding: PlanFinding) -> str:
    return finding.topic if finding.setting == "topic" else f"{finding.topic} {finding.setting}"


def _declared(finding: PlanFinding) -> str:
    if finding.setting != "topic":
        return finding.declared or ""
    return "deleted" if finding.declared is None else f"{finding.declared}: {finding.reason}"
